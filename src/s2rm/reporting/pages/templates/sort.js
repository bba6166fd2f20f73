// Sort the rows of a table by a column; rows below a heading of a group stay below it.
// A column whose cells all begin with a number is sorted by it ("−1.20 [−1.61, −0.80]"), any other one by its text.
const NUMBER = /^[+-]?\d+(\.\d+)?/;
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => (row.cells[column].dataset.value ?? row.cells[column].textContent.trim()).replace("−", "-");
      const empty = (row) => key(row) === "" || key(row) === "–";
      const all = [...table.tBodies].flatMap((body) => [...body.rows].filter((row) => !row.classList.contains("group")));
      const numeric = all.every((row) => empty(row) || NUMBER.test(key(row)));
      const compare = numeric
        ? (a, b) => Number.parseFloat(key(a)) - Number.parseFloat(key(b))
        : (a, b) => key(a).localeCompare(key(b), "en", { numeric: true });
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        rows.sort((a, b) => {
          if (empty(a) || empty(b)) return empty(a) - empty(b);
          return down ? -compare(a, b) : compare(a, b);
        });
        body.append(...rows);
      }
    });
  });
}
