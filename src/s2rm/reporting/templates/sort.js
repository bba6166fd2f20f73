// Sort the rows of a table by a column; rows below a heading of a group stay below it.
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
      const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      for (const body of table.tBodies) {
        const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
        const empty = (row) => key(row) === "" || key(row) === "–";
        rows.sort((a, b) => {
          if (empty(a) || empty(b)) return empty(a) - empty(b);
          const order = key(a).localeCompare(key(b), "en", { numeric: true });
          return down ? -order : order;
        });
        body.append(...rows);
      }
    });
  });
}
