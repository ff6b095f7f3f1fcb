"use strict";
// Sorting and filtering of tables, and hover values of plots. The page reads well without it.

const memory = {
  // A page that --watch reloads keeps its filters and its order.
  key: "dl2-report",
  read() {
    try { return JSON.parse(sessionStorage.getItem(this.key)) || {}; } catch { return {}; }
  },
  write(table, change) {
    try {
      const all = this.read();
      all[table] = Object.assign(all[table] || {}, change);
      sessionStorage.setItem(this.key, JSON.stringify(all));
    } catch { /* without storage nothing is kept */ }
  },
};

function compareCells(a, b) {
  if (a.classList.contains("n")) {
    return Number(a.dataset.v ?? a.textContent) - Number(b.dataset.v ?? b.textContent);
  }
  return a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

function sortRows(section, index, descending) {
  const body = section.querySelector("tbody");
  const empty = (row) => row.cells[index].textContent === "";
  const rows = [...body.rows];
  const known = rows.filter((row) => !empty(row));
  known.sort((a, b) => compareCells(a.cells[index], b.cells[index]) * (descending ? -1 : 1));
  body.append(...known, ...rows.filter(empty));
  section.querySelectorAll("th").forEach((head, i) => {
    if (i === index) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

function filterRows(section, text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...section.querySelectorAll("tbody tr")];
  for (const row of rows) {
    const content = [...row.cells].map((cell) => cell.textContent).join(" ").toLowerCase();
    row.hidden = !words.every((word) => content.includes(word));
  }
  const shown = rows.filter((row) => !row.hidden).length;
  section.querySelector("output").textContent =
    shown === rows.length ? `${rows.length} rows` : `${shown} of ${rows.length} rows`;
}

// On a narrow screen a row is a card, in which each value has its heading beside it.
function nameCells(section) {
  const headings = [...section.querySelectorAll("th")].map((head) => head.textContent);
  for (const row of section.querySelectorAll("tbody tr")) {
    for (let i = 1; i < row.cells.length; i += 1) row.cells[i].dataset.l = headings[i];
  }
  section.classList.add("cards");
}

function prepareTable(section) {
  const saved = memory.read()[section.id] || {};
  const search = section.querySelector("input[type=search]");
  nameCells(section);
  section.querySelectorAll("th").forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const number = head.classList.contains("n");
      const now = head.getAttribute("aria-sort");
      const descending = now ? now === "ascending" : number;
      sortRows(section, index, descending);
      memory.write(section.id, { index, descending });
    });
    head.replaceChildren(button);
  });
  if (search) {
    search.addEventListener("input", () => {
      filterRows(section, search.value);
      memory.write(section.id, { filter: search.value });
    });
  }
  // All digits of a number, when someone points at it.
  section.addEventListener("pointerover", (event) => {
    const cell = event.target.closest("td[data-v]");
    if (cell) cell.title = cell.dataset.v;
  });
  const all = section.querySelector("input[type=checkbox]");
  const showAll = (on) => section.classList.toggle("all", on);
  if (all) {
    all.addEventListener("change", () => {
      showAll(all.checked);
      memory.write(section.id, { all: all.checked });
    });
    all.checked = saved.all === true;
    showAll(all.checked);
  }
  if (saved.index < section.querySelectorAll("th").length) {
    sortRows(section, saved.index, saved.descending);
  }
  if (search && saved.filter) {
    search.value = saved.filter;
    filterRows(section, saved.filter);
  }
  section.querySelector(".tools").hidden = false;
}

function distance(mode, dx, dy) {
  if (mode === "row") return Math.abs(dy) * 1000 + Math.abs(dx);
  if (mode === "column") return Math.abs(dx) * 1000 + Math.abs(dy);
  return Math.hypot(dx, dy);
}

function preparePlot(figure) {
  const { names, points } = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector("svg");
  const tip = figure.querySelector(".tip");
  const mark = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  mark.setAttribute("class", "mark");
  mark.setAttribute("r", "5");
  let current = -1;

  function hide() {
    current = -1;
    tip.hidden = true;
    mark.remove();
  }

  function show(index) {
    current = index;
    const [x, y, name, text] = points[index];
    mark.setAttribute("cx", x);
    mark.setAttribute("cy", y);
    svg.append(mark);
    tip.textContent = names[name] + text;
    tip.hidden = false;
    const spot = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
    const frame = figure.getBoundingClientRect();
    const left = Math.min(Math.max(spot.x - frame.left + 12, 4), frame.width - tip.offsetWidth - 4);
    const below = spot.y - frame.top + 14;
    const above = spot.y - frame.top - tip.offsetHeight - 10;
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${above > 0 ? above : below}px`;
  }

  function nearest(event) {
    const at = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(svg.getScreenCTM().inverse());
    let best = -1;
    let least = Infinity;
    points.forEach(([x, y], index) => {
      const far = distance(figure.dataset.hover, x - at.x, y - at.y);
      if (far < least) [best, least] = [index, far];
    });
    return best;
  }

  if (!points.length) return;
  svg.addEventListener("pointermove", (event) => show(nearest(event)));
  svg.addEventListener("pointerdown", (event) => show(nearest(event)));
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") hide();
    if (!step) return;
    event.preventDefault();
    const start = current < 0 && step < 0 ? 0 : current;
    show((start + step + points.length) % points.length);
  });
}

document.querySelectorAll("section.table").forEach(prepareTable);
document.querySelectorAll("figure.plot").forEach(preparePlot);
