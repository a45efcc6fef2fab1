"use strict";
// Shows what a mark of a chart stands for: under the pointer, under a finger, or with the keyboard.
(() => {
  const NEAR = 26; // pixels from a mark at which it is meant
  const tip = document.getElementById("tip");
  let shown = null;

  function hide() {
    if (shown) shown.classList.remove("on");
    shown = null;
    tip.hidden = true;
  }

  function show(mark) {
    if (mark === shown) return;
    hide();
    if (!mark) return;
    shown = mark;
    mark.classList.add("on");
    const [name, ...rest] = mark.dataset.says.split("\n");
    const strong = document.createElement("strong");
    strong.textContent = name;
    tip.replaceChildren(strong, ...(rest.length ? ["\n" + rest.join("\n")] : []));
    tip.hidden = false;
    place();
  }

  function place() {
    if (!shown) return;
    const at = shown.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const wide = document.documentElement.clientWidth;
    const left = Math.min(at.left + at.width / 2 - box.width / 2, wide - box.width - 8);
    const above = at.top - box.height - 8;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (above > 4 ? above : at.bottom + 8) + "px";
  }

  function nearest(marks, event) {
    const direct = event.target.closest(".mark");
    if (direct) return direct;
    let best = null;
    let least = NEAR;
    for (const mark of marks) {
      const box = mark.getBoundingClientRect();
      const x = (box.left + box.right) / 2 - event.clientX;
      const y = (box.top + box.bottom) / 2 - event.clientY;
      const far = Math.hypot(x, y);
      if (far < least) [best, least] = [mark, far];
    }
    return best;
  }

  function step(marks, key) {
    const here = marks.indexOf(document.activeElement);
    const last = marks.length - 1;
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (key === "ArrowRight" || key === "ArrowDown") return Math.min(last, here + 1);
    if (key === "ArrowLeft" || key === "ArrowUp") return Math.max(0, here - 1);
    return null;
  }

  for (const chart of document.querySelectorAll("svg.chart")) {
    const marks = [...chart.querySelectorAll(".mark")];
    if (!marks.length) continue;
    for (const mark of marks) {
      mark.setAttribute("role", "img");
      mark.setAttribute("aria-label", mark.dataset.says);
      mark.tabIndex = mark === marks[0] ? 0 : -1; // arrow keys go on from there
    }
    for (const kind of ["pointermove", "pointerdown"]) {
      chart.addEventListener(kind, (event) => show(nearest(marks, event)));
    }
    chart.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide();
    });
    chart.addEventListener("focusin", (event) => show(event.target.closest(".mark")));
    chart.addEventListener("focusout", hide);
    chart.addEventListener("keydown", (event) => {
      if (event.key === "Escape") return hide();
      const next = step(marks, event.key);
      if (next === null) return;
      event.preventDefault();
      for (const mark of marks) mark.tabIndex = mark === marks[next] ? 0 : -1;
      marks[next].focus();
    });
  }
  addEventListener("scroll", place, { passive: true });
  addEventListener("resize", place);
})();
