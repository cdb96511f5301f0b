// All script of the page: it keeps the table of calls live, and copies. It works on what the server has rendered and
// escaped; without it the pages are the same, but stand still. The files of this folder are one script.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const from = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(from.textContent);
      button.textContent = "Copied";
    } catch {
      // No clipboard without HTTPS on some hosts: what is to be copied is selected instead.
      getSelection().selectAllChildren(from);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = button.dataset.label; }, 2000);
  });
}
