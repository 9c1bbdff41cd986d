"use strict";
(function () {
  const root = document.documentElement;
  const DARK = window.matchMedia("(prefers-color-scheme: dark)");
  // Okabe and Ito's colours (2008), a shade lighter where the ground is dark.
  const THEMES = {
    light: {
      ink: "#1c2530", soft: "#55606c", grid: "#e3e7eb", paper: "#ffffff",
      colours: ["#0072B2", "#D55E00", "#009E73", "#B0568D", "#8A6D00", "#2F8FC4", "#555555"],
    },
    dark: {
      ink: "#e4e8ec", soft: "#a5b0bb", grid: "#333d48", paper: "#1a2027",
      colours: ["#5DB4E5", "#F08A4B", "#3CC59B", "#DE9CC3", "#E4C441", "#8FCBEE", "#B0B8C0"],
    },
  };
  const CONFIG = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["sendDataToCloud"] };
  const plots = JSON.parse(document.getElementById("plots").textContent);
  let printing = false;

  function theme() {
    if (printing) return "light";
    return root.dataset.theme || (DARK.matches ? "dark" : "light");
  }

  function axis(given, look) {
    return Object.assign(
      { gridcolor: look.grid, linecolor: look.soft, zerolinecolor: look.grid, tickcolor: look.soft, automargin: true },
      given);
  }

  function themed(layout, look) {
    const all = Object.assign({}, layout, {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      colorway: look.colours,
      font: { family: "system-ui, sans-serif", size: 12, color: look.ink },
      hoverlabel: { bgcolor: look.paper, bordercolor: look.soft, font: { color: look.ink } },
    });
    if (layout.scene) {
      all.scene = Object.assign({}, layout.scene);
      for (const name of ["xaxis", "yaxis", "zaxis"]) {
        all.scene[name] = Object.assign(
          { backgroundcolor: "rgba(0,0,0,0)", showspikes: false }, axis(layout.scene[name], look));
        delete all.scene[name].automargin;
      }
    } else {
      for (const name of Object.keys(layout)) {
        if (/^[xy]axis\d*$/.test(name)) all[name] = axis(layout[name], look);
      }
    }
    return all;
  }

  // A trace that names a colour by its number has it in light and dark.
  function coloured(trace, look) {
    if (!trace.meta || trace.meta.colour === undefined) return trace;
    const colour = look.colours[trace.meta.colour % look.colours.length];
    const painted = Object.assign({}, trace);
    painted.marker = Object.assign({}, trace.marker, { color: colour });
    painted.marker.line = Object.assign({}, painted.marker.line, { color: colour });
    if (trace.error_x) painted.error_x = Object.assign({}, trace.error_x, { color: colour });
    return painted;
  }

  function draw(first) {
    if (typeof Plotly === "undefined") return;
    const look = THEMES[theme()];
    for (const div of document.querySelectorAll("[data-plot]")) {
      const plot = plots[Number(div.dataset.plot)];
      if (root.classList.contains("no-webgl") && plot.layout.scene) continue;
      const layout = themed(plot.layout, look);
      // Turned views stay as they are when only colours change.
      if (plot.layout.scene && !first && div._fullLayout) {
        layout.scene.camera = div._fullLayout.scene.camera;
      }
      const data = plot.data.map(function (trace) { return coloured(trace, look); });
      Plotly.react(div, data, layout, CONFIG);
    }
    root.dataset.drawn = "yes";
  }

  function hasWebGL() {
    const canvas = document.createElement("canvas");
    return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
  }

  // ------------------------------------------------------------------------------ light and dark
  document.getElementById("theme").addEventListener("click", function () {
    root.dataset.theme = theme() === "dark" ? "light" : "dark";
    draw(false);
  });
  DARK.addEventListener("change", function () { draw(false); });
  window.addEventListener("beforeprint", function () { printing = true; draw(false); });
  window.addEventListener("afterprint", function () { printing = false; draw(false); });

  // --------------------------------------------------------------------------------- sorted tables
  function compared(a, b, numeric) {
    if (numeric) {
      const x = a.dataset.key, y = b.dataset.key;
      // A missing number stands last, whichever way the others go.
      if (x === "" || y === "") return { order: (x === "") - (y === ""), fixed: x !== y };
      return { order: Number(x) - Number(y), fixed: false };
    }
    return { order: a.textContent.localeCompare(b.textContent, "en", { numeric: true }), fixed: false };
  }

  function sort(table, column) {
    const heads = Array.from(table.tHead.rows[0].cells);
    const head = heads[column];
    const numeric = head.classList.contains("num");
    const before = head.getAttribute("aria-sort");
    // Of numbers the largest are looked for, of names the first.
    const now = before === "none" ? (numeric ? "descending" : "ascending")
      : (before === "ascending" ? "descending" : "ascending");
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", now);
    const sign = now === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows);
    rows.sort(function (a, b) {
      const found = compared(a.cells[column], b.cells[column], numeric);
      return found.fixed ? found.order : sign * found.order;
    });
    body.append.apply(body, rows);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    table.tHead.addEventListener("click", function (event) {
      const head = event.target.closest("th");
      if (head) sort(table, head.cellIndex);
    });
  }

  if (!hasWebGL()) root.classList.add("no-webgl");
  draw(true);
})();
