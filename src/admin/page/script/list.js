// The table of calls: kept live.
const table = document.querySelector("table.calls[data-live]");
if (table) live(table);

function live(table) {
  const EVERY_MS = 1000;
  const MOST_ROWS = 1000;
  const body = table.querySelector("tbody.past");
  const open = table.querySelector("tbody.open");
  const state = document.getElementById("live-state");
  const pause = document.getElementById("pause");
  const follow = document.getElementById("follow");
  let paused = false;
  let following = true;
  let waiting = 0;
  let newest = Number(table.dataset.newest);

  for (const button of [pause, follow]) button.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Resume" : "Pause";
    say();
    if (!paused) look();
  });
  follow.addEventListener("click", () => {
    following = !following;
    follow.setAttribute("aria-pressed", following);
    if (following) scrollTo({ top: 0 });
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  document.addEventListener("keydown", keys);

  let timer = setTimeout(look, EVERY_MS);
  let looking = false;

  async function look() {
    if (looking) return;
    looking = true;
    clearTimeout(timer);
    try {
      if (!document.hidden) await take();
    } catch (error) {
      state.textContent = "The proxy does not answer: " + error.message;
    } finally {
      looking = false;
      timer = setTimeout(look, EVERY_MS);
    }
  }

  async function take() {
    const asked = new URLSearchParams(location.search);
    asked.set("after", newest);
    if (paused) {
      asked.set("count", "1");
    } else {
      const moving = [...body.querySelectorAll("tr[data-state=pending]")].slice(0, 200);
      asked.set("moving", moving.map((row) => row.dataset.id).join(","));
    }
    const answer = await fetch("/live?" + asked, { headers: { accept: "application/json" } });
    if (answer.status === 401) throw new Error("this browser is not let in any more; `otas-proxy page` prints a new link");
    if (!answer.ok) throw new Error("status " + answer.status);
    const news = await answer.json();
    waiting = news.more;
    if (!paused) show(news);
    say();
  }

  function show(news) {
    for (const [id, html] of Object.entries(news.moved)) {
      const old = document.getElementById("c" + id);
      if (old && !old.contains(document.activeElement)) old.replaceWith(...rows(html));
    }
    if (!open.contains(document.activeElement)) open.replaceChildren(...rows(news.open));
    if (!news.rows) return;
    const before = document.documentElement.scrollHeight;
    // More came than one answer holds: what stands here would have a hole above it.
    if (news.more > 0) body.replaceChildren();
    const fresh = rows(news.rows);
    for (const row of fresh) row.classList.add("new");
    body.prepend(...fresh);
    newest = news.newest;
    document.getElementById("none")?.remove();
    while (body.rows.length > MOST_ROWS) body.lastElementChild.remove();
    const older = document.getElementById("older");
    if (older && body.lastElementChild) {
      const to = new URLSearchParams(location.search);
      to.set("before", body.lastElementChild.dataset.id);
      older.href = "/?" + to;
      older.hidden = false;
    }
    // Keep the scroll position of a reader further down.
    if (!following && scrollY > 0) scrollBy(0, document.documentElement.scrollHeight - before);
  }

  function rows(html) {
    const holder = document.createElement("template");
    holder.innerHTML = "<table><tbody>" + html + "</tbody></table>";
    return [...holder.content.querySelectorAll("tr")];
  }

  function say() {
    state.textContent = paused ? (waiting ? "Paused, " + waiting + " new" : "Paused") : "Live";
  }

  function keys(event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName ?? "");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && typing) document.activeElement.blur();
    if (typing) return;
    const links = [...body.querySelectorAll("a.call")];
    const at = links.indexOf(document.activeElement);
    if (event.key === "/") document.querySelector("input[name=text]").focus();
    else if (event.key === "p") pause.click();
    else if (event.key === "f") follow.click();
    else if (event.key === "j" || event.key === "ArrowDown" && at >= 0) links[Math.min(at + 1, links.length - 1)]?.focus();
    else if (event.key === "k" || event.key === "ArrowUp" && at >= 0) links[Math.max(at - 1, 0)]?.focus();
    else return;
    event.preventDefault();
  }
}
