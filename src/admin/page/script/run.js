// A run: it is kept up to date while it goes on, and its rows can be walked with the arrow keys. What is open stays open.
const run = document.getElementById("run");
if (run) follow(run);

function follow(run) {
  const EVERY_MS = 2000;
  let shown = run.innerHTML;

  run.addEventListener("keydown", walk);
  run.addEventListener("click", reveal);
  let timer = 0;
  wait(0);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && timer) look(); });

  // What is not read yet is asked for at once. A comparison is asked for no further.
  function wait(took, failed) {
    const unread = run.querySelector("[data-unread]") && !failed;
    const ends = run.hasAttribute("data-once") && !unread && !failed;
    // A long run takes long to read: it is asked for less often.
    timer = ends ? 0 : setTimeout(look, unread ? Math.max(50, took) : Math.max(EVERY_MS, took * 4));
  }

  async function look() {
    clearTimeout(timer);
    const began = performance.now();
    let failed = false;
    try {
      if (!document.hidden) {
        take(await (await fetched(run.dataset.part)).text());
        say("");
      }
    } catch (error) {
      failed = true;
      say("Not up to date: " + error.message);
    } finally {
      wait(performance.now() - began, failed);
    }
  }

  function say(words) {
    const state = document.getElementById("run-state");
    if (state && state.textContent !== words) state.textContent = words;
  }

  function take(html) {
    if (html === shown) return;
    const content = parsed(html);
    const open = new Map([...run.querySelectorAll("details[id]")].map((part) => [part.id, part.open]));
    for (const part of content.querySelectorAll("details[id]")) {
      if (open.has(part.id)) part.open = open.get(part.id);
    }
    const focused = place(document.activeElement);
    const above = topmost();
    run.replaceChildren(content);
    shown = html;
    if (focused) find(focused)?.focus({ preventScroll: true });
    // What was at the top of the window stays there.
    const now = above && document.getElementById(above.id);
    if (now) scrollBy(0, now.getBoundingClientRect().top - above.top);
  }

  function topmost() {
    if (scrollY === 0) return null;
    const part = [...run.querySelectorAll("[id]")].find((part) => part.getBoundingClientRect().bottom > 0);
    return part && { id: part.id, top: part.getBoundingClientRect().top };
  }

  // Where the focus is: the nearest part with an id, and the element's place in it.
  function place(element) {
    if (!element || !run.contains(element)) return null;
    const within = element.closest("[id]");
    return { id: within.id, at: [...within.querySelectorAll("a, summary")].indexOf(element) };
  }

  function find({ id, at }) {
    return document.getElementById(id)?.querySelectorAll("a, summary")[at];
  }

  // As in a tree: up and down, open and shut.
  function walk(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = [...run.querySelectorAll(".tree summary, .tree .leaf .name a:first-of-type")].filter((row) => row.checkVisibility());
    const at = rows.indexOf(event.target.closest("summary") ?? event.target);
    if (at < 0) return;
    const part = rows[at].matches("summary") ? rows[at].parentElement : null;
    if (event.key === "ArrowDown" || event.key === "j") rows[Math.min(at + 1, rows.length - 1)].focus();
    else if (event.key === "ArrowUp" || event.key === "k") rows[Math.max(at - 1, 0)].focus();
    else if (event.key === "ArrowRight" && part) part.open = true;
    else if (event.key === "ArrowLeft" && part?.open) part.open = false;
    else if (event.key === "ArrowLeft") (part ?? rows[at]).parentElement.closest("details")?.querySelector("summary").focus();
    else return;
    event.preventDefault();
  }

  // A link to a row opens what it is in.
  function reveal(event) {
    const link = event.target.closest("a[href^='#']");
    let part = link && document.getElementById(link.hash.slice(1));
    for (; part; part = part.parentElement.closest("details")) if (part.matches("details")) part.open = true;
  }
}
