// The script of the page. It moves what the server has rendered and escaped; without it the pages are the same, but stand still.
// The files of this folder are one script.
"use strict";

document.documentElement.classList.add("scripted");

document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copy]");
  if (button) copy(button);
});

async function copy(button) {
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent);
    button.textContent = "Copied";
  } catch {
    // No clipboard without HTTPS on some hosts: what is to be copied is shown and selected instead.
    from.closest("details")?.setAttribute("open", "");
    getSelection().selectAllChildren(from);
    button.textContent = "Press Ctrl+C";
  }
  setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
}

async function fetched(path) {
  const answer = await fetch(path);
  if (answer.status === 401) throw new Error("this browser is not let in any more; `otas-proxy page` prints a new link");
  if (!answer.ok) throw new Error("status " + answer.status);
  return answer;
}

function parsed(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content;
}

// Makes `now` equal to `next` and keeps what did not change: open parts, the selection, scrolling.
function morph(now, next) {
  const [old, fresh] = [[...now.childNodes], [...next.childNodes]];
  fresh.forEach((node, at) => {
    const known = old[at];
    if (!known) return now.append(node);
    if (known.nodeType !== node.nodeType || known.nodeName !== node.nodeName) return known.replaceWith(node);
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (known.data !== node.data) known.data = node.data;
      return;
    }
    for (const { name } of [...known.attributes]) {
      // People open and close parts themselves.
      if (!node.hasAttribute(name) && name !== "open") known.removeAttribute(name);
    }
    for (const { name, value } of node.attributes) {
      if (name !== "open" && known.getAttribute(name) !== value) known.setAttribute(name, value);
    }
    morph(known, node);
  });
  for (const node of old.slice(fresh.length)) node.remove();
}
