"use strict";
const table = document.getElementById("rows");
const heads = [...table.tHead.rows[0].cells];
const galaxies = [...table.tBodies];
const filters = document.getElementById("filters");
const selects = [...filters.querySelectorAll("select")];

function key(body, column, isNumber) {
  const cell = body.rows[0].cells[column];
  if (!isNumber && cell.dataset.value === undefined) return cell.textContent.trim();
  return cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
}

function sortBy(column) {
  const isNumber = heads[column].classList.contains("number");
  const down = heads[column].getAttribute("aria-sort") === "ascending";
  const sign = down ? -1 : 1;
  const words = new Intl.Collator("en", { numeric: true });
  const keyed = galaxies.map((body) => [key(body, column, isNumber), body]);
  keyed.sort(([a], [b]) => {
    if (typeof a === "string") return sign * words.compare(a, b);
    // Rows without a number stay at the end, either way.
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  });
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
  table.append(...keyed.map(([, body]) => body));
}

function filter() {
  const only = selects.filter((select) => select.value === "only").map((select) => select.dataset.flag);
  const hide = selects.filter((select) => select.value === "hide").map((select) => select.dataset.flag);
  let shown = 0;
  for (const body of galaxies) {
    // A row without a flag has the empty one.
    const flags = body.dataset.flags.split(" ");
    const has = (flag) => flags.includes(flag);
    body.hidden = (only.length > 0 && !only.some(has)) || hide.some(has);
    shown += !body.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${galaxies.length} rows`;
}

heads.forEach((head, column) => {
  const button = head.querySelector("button");
  if (button) button.addEventListener("click", () => sortBy(column));
});
filters.addEventListener("change", filter);
filters.addEventListener("reset", () => setTimeout(filter));
filters.addEventListener("submit", (event) => event.preventDefault());
filter();
