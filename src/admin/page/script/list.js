// The list of calls: live, with one call open beside it. Rows under the pointer or the focus do not move: while somebody reads, new
// calls are only counted.

const table = document.querySelector("table.calls");
const list = table && callsList(table);

function callsList(table) {
  const EVERY_MS = 1000;
  const SUMS_EVERY_MS = 5000;
  const MOST_ROWS = 400;
  const scroller = table.closest(".rows");
  const past = table.querySelector("tbody.past");
  const flying = table.querySelector("tbody.flying");
  const state = document.getElementById("live-state");
  const button = document.getElementById("news");
  const live = table.hasAttribute("data-live");
  let newest = Number(table.dataset.newest);
  let waiting = 0;
  let hovered = false;
  let summed = performance.now();
  let summedUpTo = newest;
  let selected = null;
  let released = false;

  // What is open.

  const links = () => [...table.querySelectorAll("tbody a.call")];
  const idOf = (link) => link.closest("tr").dataset.id;
  const rowOf = (id) => document.getElementById("c" + id);

  // The list's query, with `more` instead of the call that is open.
  function query(more) {
    const to = new URLSearchParams(location.search);
    for (const name of ["open", "tab"]) to.delete(name);
    for (const [name, value] of Object.entries(more ?? {})) to.set(name, value);
    return to;
  }

  function go(to) {
    history.pushState(null, "", "/" + (to.size ? "?" + to : ""));
  }

  function empty() {
    asking += 1;
    pane.hidden = true;
    pane.replaceChildren();
    shownCall = null;
  }

  function select(row) {
    selected?.removeAttribute("aria-current");
    selected = row;
    row?.setAttribute("aria-current", "true");
  }

  function focus(link) {
    if (!link) return;
    select(link.closest("tr"));
    link.focus({ preventScroll: true });
    // The heading stands over the first row.
    const [box, around] = [link.closest("tr").getBoundingClientRect(), scroller.getBoundingClientRect()];
    const top = around.top + (table.tHead.getBoundingClientRect().height || 0);
    if (box.top < top) scroller.scrollTop -= top - box.top;
    if (box.bottom > around.bottom) scroller.scrollTop += box.bottom - around.bottom;
  }

  let soon;
  async function open(link, wait) {
    select(link.closest("tr"));
    clearTimeout(soon);
    if (wait) {
      soon = setTimeout(() => open(link), 120);
      return;
    }
    go(query({ open: idOf(link) }));
    await loadCall(link.getAttribute("href"));
  }

  function close() {
    if (pane.hidden) return;
    clearTimeout(soon);
    empty();
    go(query());
    (selected?.isConnected ? selected.querySelector("a.call") : null)?.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    const other = event.target.closest("article.one a.other");
    const row = event.target.closest("table.calls tbody tr");
    if (event.target.closest("article.one a.close")) {
      event.preventDefault();
      close();
    } else if (other) {
      event.preventDefault();
      go(query({ open: other.dataset.open }));
      select(rowOf(other.dataset.open));
      loadCall("/event/" + other.dataset.open);
    } else if (row && !(event.target.closest("a") && !event.target.closest("a.call")) && getSelection().isCollapsed) {
      event.preventDefault();
      const link = row.querySelector("a.call");
      link.focus({ preventScroll: true });
      open(link);
    }
  });

  addEventListener("popstate", () => {
    const address = new URLSearchParams(location.search);
    const id = address.get("open");
    select(id ? rowOf(id) : null);
    if (!id) {
      empty();
    } else {
      loadCall((/^\d+$/.test(id) ? "/event/" : "/open/") + id, address.get("tab"));
    }
  });

  select(rowOf(new URLSearchParams(location.search).get("open") ?? "-"));
  selected?.scrollIntoView({ block: "nearest" });

  // Live.

  if (live) {
    scroller.addEventListener("pointermove", () => { hovered = true; });
    scroller.addEventListener("pointerleave", () => { hovered = false; });
    button.addEventListener("click", release);
    document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
    say("Live");
  }

  function held() {
    return hovered || scroller.scrollTop > 0 || !pane.hidden || table.tBodies[1].contains(document.activeElement);
  }

  let timer = live ? setTimeout(look, EVERY_MS) : 0;
  let looking = false;

  async function look() {
    if (looking) return;
    looking = true;
    clearTimeout(timer);
    try {
      if (!document.hidden) await take(released);
    } catch (error) {
      say("The proxy does not answer: " + error.message);
    } finally {
      looking = false;
      timer = setTimeout(look, EVERY_MS);
    }
  }

  async function take(anyway) {
    const holds = held() && !anyway;
    const asked = query({ after: newest });
    if (holds) asked.set("count", "1");
    const moving = [...past.querySelectorAll("tr[data-state=pending]")].slice(0, 200);
    if (moving.length) asked.set("moving", moving.map((row) => row.dataset.id).join(","));
    const news = await (await fetched("/live?" + asked)).json();
    for (const [id, html] of Object.entries(news.moved)) replace(rowOf(id), html);
    // Somebody may have begun to read meanwhile.
    if (holds || (held() && !anyway)) {
      keepFlying(news.open);
      waiting = holds ? news.more : waiting;
    } else {
      showFlying(news.open);
      prepend(news);
      waiting = 0;
      released = false;
    }
    button.hidden = waiting === 0;
    button.textContent = (waiting >= 1000 ? "1,000+" : waiting) + (waiting === 1 ? " new call" : " new calls");
    say(waiting ? "Held while you read" : "Live");
    await sumUp(news.newest);
  }

  async function sumUp(upTo) {
    const now = performance.now();
    if (upTo === undefined || upTo === summedUpTo || now - summed < SUMS_EVERY_MS) return;
    [summed, summedUpTo] = [now, upTo];
    await showSums();
  }

  async function showSums() {
    const asked = query();
    document.getElementById("sums").replaceChildren(parsed(await (await fetched("/sums?" + asked)).text()));
  }

  if (document.getElementById("sums").hasAttribute("data-late")) {
    showSums().catch(() => { document.getElementById("sums").textContent = "Not summed up."; });
  }

  function prepend(news) {
    newest = news.newest;
    if (!news.rows) return;
    // More came than one answer holds: what stands here would have a hole above it.
    if (news.more > 0) past.replaceChildren();
    past.prepend(...rows(news.rows));
    document.getElementById("none")?.remove();
    while (past.rows.length > MOST_ROWS) past.lastElementChild.remove();
    const older = document.getElementById("older");
    if (past.lastElementChild) {
      older.href = "/?" + query({ before: past.lastElementChild.dataset.id });
      older.hidden = false;
    }
  }

  function showFlying(open) {
    const kept = flying.contains(document.activeElement);
    if (!kept) flying.replaceChildren(...Object.values(open).flatMap(rows));
    else keepFlying(open);
  }

  // Rows stay where they are: those of calls that have ended are only marked.
  function keepFlying(open) {
    for (const row of flying.rows) {
      const html = open[row.dataset.id];
      if (html) replace(row, html);
      else row.classList.add("ended");
    }
  }

  // Another state of the same row. The element stays, and with it focus and selection.
  function replace(row, html) {
    const [next] = rows(html);
    if (!row || !next) return;
    const isSelected = row.getAttribute("aria-current");
    for (const { name, value } of next.attributes) row.setAttribute(name, value);
    morph(row, next);
    if (isSelected) row.setAttribute("aria-current", isSelected);
  }

  function release() {
    if (!live) return;
    scroller.scrollTop = 0;
    hovered = false;
    released = true;
    look();
  }

  function rows(html) {
    return [...parsed("<table><tbody>" + html + "</tbody></table>").querySelectorAll("tr")];
  }

  function say(words) {
    if (state.textContent !== words) state.textContent = words;
  }

  return {
    move(by) {
      const all = links();
      const here = selected?.isConnected ? all.indexOf(selected.querySelector("a.call")) : -1;
      const at = here < 0 ? 0 : Math.max(0, Math.min(here + by, all.length - 1));
      focus(all[at]);
      if (!pane.hidden && all[at]) open(all[at], true);
    },
    open() {
      const link = selected?.isConnected ? selected.querySelector("a.call") : null;
      if (link) open(link);
    },
    close,
    release,
  };
}
