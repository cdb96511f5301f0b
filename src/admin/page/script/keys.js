// The keys. Without the script all of it works by links.

const help = document.getElementById("keys");
document.getElementById("help")?.addEventListener("click", () => help.showModal());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const active = document.activeElement;
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(active?.tagName ?? "");
  if (event.key === "Escape" && typing) return active.blur();
  if (typing || help?.open) return;
  if (press(event, active)) event.preventDefault();
});

function press(event, active) {
  const click = (query) => {
    const link = document.querySelector(query);
    link?.click();
    return Boolean(link);
  };
  const { key } = event;
  if (/^[1-9]$/.test(key)) return click(`article.one .tabs a:nth-child(${key})`);
  if (!list) {
    if (key === "Escape" && document.querySelector("article.one")) return click("article.one a.close");
    return false;
  }
  const inRows = active?.closest?.("table.calls");
  switch (key) {
    case "j": list.move(1); return true;
    case "k": list.move(-1); return true;
    case "ArrowDown": if (inRows) list.move(1); return Boolean(inRows);
    case "ArrowUp": if (inRows) list.move(-1); return Boolean(inRows);
    case "Enter":
      // Enter on a link elsewhere follows that link.
      if (active !== document.body && !active?.closest?.("tbody a.call")) return false;
      list.open();
      return true;
    case "Escape": list.close(); return true;
    case "/": document.querySelector("input[name=text]").select(); return true;
    case "?": help.showModal(); return true;
    case "n": list.release(); return true;
    case "$": return click("th.c-cost a");
    case "t": return click("th.c-ms a");
    default: return /^[a-z]$/.test(key) && click(`a[data-key="${key}"]`);
  }
}
