// One call, on its own page or beside the list: its tabs, and live while it is in flight.

const pane = document.getElementById("pane");
let shownCall = document.querySelector("article.one");
let asking = 0;

function addressOf(article, tab) {
  if (!pane) return article.dataset.path + "?tab=" + tab;
  const to = new URLSearchParams(location.search);
  to.set("open", article.dataset.open);
  to.set("tab", tab);
  return "/?" + to;
}

function partOf(path, tab) {
  const asked = pane ? new URLSearchParams(location.search) : new URLSearchParams();
  for (const name of ["open", "tab", "before", "page"]) asked.delete(name);
  if (tab) asked.set("tab", tab);
  asked.set("part", "1");
  if (pane) asked.set("beside", "1");
  return path + "?" + asked;
}

// Loads a call into the place where calls are shown. Only the newest request counts.
async function loadCall(path, tab) {
  const mine = ++asking;
  const holder = pane ?? document.getElementById("main");
  let content;
  try {
    content = parsed(await (await fetched(partOf(path, tab))).text());
  } catch (error) {
    content = document.createElement("p");
    content.className = "note bad";
    content.textContent = "The call cannot be shown: " + error.message;
  }
  if (mine !== asking) return false;
  holder.replaceChildren(content);
  shownCall = holder.querySelector("article.one");
  if (pane) pane.hidden = false;
  holder.scrollTop = 0;
  followCall();
  return true;
}

async function openTab(tab) {
  if (!shownCall || shownCall.dataset.tab === tab) return;
  const had = shownCall.contains(document.activeElement);
  history.pushState(null, "", addressOf(shownCall, tab));
  await loadCall(shownCall.dataset.path, tab);
  if (had) shownCall?.querySelector(`.tabs a[data-tab="${tab}"]`)?.focus();
}

let following;

// A call in flight fills in; when it has ended, its event takes its place.
function followCall() {
  clearTimeout(following);
  const article = shownCall;
  if (article?.hasAttribute("data-flying")) {
    following = setTimeout(() => fillIn(article), 1000);
  }
}

async function fillIn(article) {
  if (!document.hidden) {
    try {
      const answer = await fetched(partOf(article.dataset.path, article.dataset.tab));
      const next = parsed(await answer.text()).querySelector("article.one");
      if (article !== shownCall || !article.isConnected) return;
      for (const name of ["data-path", "data-open"]) article.setAttribute(name, next.getAttribute(name));
      if (!next.hasAttribute("data-flying")) {
        article.removeAttribute("data-flying");
        history.replaceState(null, "", addressOf(article, article.dataset.tab));
        window.dispatchEvent(new Event("call-ended"));
      }
      morph(article, next);
    } catch {
      // It is asked again.
    }
  }
  followCall();
}

document.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  const tab = event.target.closest("article.one .tabs a");
  if (!tab) return;
  event.preventDefault();
  openTab(tab.dataset.tab);
});

if (!pane && shownCall) {
  addEventListener("popstate", () => {
    loadCall(location.pathname, new URLSearchParams(location.search).get("tab"));
  });
}
followCall();
