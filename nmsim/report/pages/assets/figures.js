// ---- figures: drawn, linked with a table, saved, told as text

const FIGURES = {}; // by name: as they came, {data, layout}
const PAPER = 1030; // pixels between the margins of A4 in landscape
const SHEET = 540; // pixels of height, beside headings, title and caption
const NARROW = 700; // below, a figure is drawn for a phone

function room(name) {
  return document.getElementById("figure-" + name);
}

function plain(markup) {
  return new DOMParser().parseFromString(markup || "", "text/html").body.textContent;
}

function draw(name, figure) {
  for (const trace of figure.data) {
    if (trace.hovertext) trace.hovertext = trace.hovertext.map((number) => TEXTS[number]);
  }
  FIGURES[name] = figure;
  if (document.readyState === "loading") return; // drawn when the page is there
  redraw(name);
}

// A figure as its room is: colours by the ground, titles outside where they would be cut.
function fitted(name) {
  const figure = structuredClone(FIGURES[name]);
  const place = room(name);
  const width = paper && !pictured(name) ? PAPER : place.parentElement.clientWidth;
  const { layout } = figure;
  layout.uirevision = layout.uirevision || "kept"; // what a reader brushed, zoomed or hid
  const narrow = width < NARROW;
  if (layout.title) titleOutside(layout);
  layout.width = Math.max(width, paper ? 0 : (layout.meta || {}).least || 320);
  if (paper) layout.height = Math.min(layout.height, SHEET);
  if (narrow) {
    layout.dragmode = false;
    layout.font.size = 11;
  }
  return dark() ? tinted(figure) : figure;
}

// Titles stand above figures as text of the page: they wrap, can be searched and are read aloud.
function titleOutside(layout) {
  delete layout.title;
  const above = (layout.meta || {}).above || 0;
  layout.margin.t -= above;
  layout.height -= above;
  if (layout.legend) layout.legend.y = 1 - 6 / layout.height;
}

// Lines on parallel axes are pictures, which are drawn a moment later: too late for a printer.
function pictured(name) {
  return FIGURES[name].data.some((trace) => trace.type === "parcoords");
}

// As it is drawn already a picture goes onto paper, only smaller; page.css gives it a white ground.
function scaled(name) {
  const place = room(name);
  const drawn = place.classList.contains("drawn");
  if (!drawn) redraw(name);
  place.style.zoom = paper ? PAPER / Math.max(PAPER, place.firstElementChild.clientWidth) : "";
}

function redraw(name) {
  const figure = fitted(name);
  const place = room(name);
  place.style.height = figure.layout.height + "px";
  const options = { responsive: false, displayModeBar: false, doubleClick: "reset", scrollZoom: false };
  const first = !place.classList.contains("drawn");
  Plotly.react(place, figure.data, figure.layout, options);
  place.classList.add("drawn");
  place.classList.toggle("pictured", pictured(name));
  if (first) {
    place.on("plotly_click", (event) => clicked(name, event));
    place.dispatchEvent(new Event("drawn"));
  }
  underLegend(place, figure.layout);
  const box = place.parentElement;
  if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
  mark(name);
}

// A legend wraps where the page is narrow: panels make room for its lines.
function underLegend(place, layout) {
  const legend = place.querySelector(".legend .bg");
  const more = legend ? Number(legend.getAttribute("height")) + 34 - layout.margin.t : 0;
  if (more <= 0) return;
  const height = layout.height + more;
  place.style.height = height + "px";
  Plotly.relayout(place, { height, "margin.t": layout.margin.t + more, "legend.y": 1 - 6 / height });
}

function redrawAll() {
  for (const name of Object.keys(FIGURES)) if (room(name).classList.contains("drawn")) redraw(name);
}

// Figures far down are drawn when they come near, so that a long page is there at once.
function drawWhenNear() {
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const name = entry.target.dataset.name;
      if (entry.isIntersecting && !entry.target.classList.contains("drawn")) redraw(name);
    }
  }, { rootMargin: "600px" });
  for (const name of Object.keys(FIGURES)) {
    room(name).dataset.name = name;
    near.observe(room(name));
  }
}

// ---- linked with the table: a mark has the number of its row in `customdata`

let chosen = null; // the number of a row, of the table that figures are linked with

function clicked(name, event) {
  const number = rowOf(event.points[0]);
  if (number !== null) choose(number, true);
}

function rowOf(point) {
  const { customdata } = point;
  const number = Array.isArray(customdata) ? customdata[0] : customdata;
  return number === undefined || number === null || number < 0 ? null : number;
}

function choose(number, scroll) {
  chosen = number;
  for (const name of Object.keys(FIGURES)) mark(name);
  tellChosen(number);
  if (scroll) showRow(number);
}

function mark(name) {
  const place = room(name);
  if (!place.classList.contains("drawn")) return;
  const marked = FIGURES[name].data.map((trace) => {
    if (!Array.isArray(trace.customdata) || chosen === null) return null;
    const at = trace.customdata.flatMap((one, index) => (one === chosen ? [index] : []));
    return at.length ? at : [];
  });
  const some = marked.some((at) => at && at.length);
  const kinds = ["bar", "scatter"];
  const traces = FIGURES[name].data.flatMap((trace, at) =>
    kinds.includes(trace.type) && Array.isArray(trace.customdata) ? [at] : []);
  if (!traces.length || (chosen === null && !place.dataset.marked)) return;
  place.dataset.marked = some ? "yes" : "";
  Plotly.restyle(place, { selectedpoints: traces.map((at) => (some ? marked[at] : null)) }, traces);
}

// ---- saved: as a picture, as numbers

function save(name, content, type) {
  const link = document.createElement("a");
  link.href = typeof content === "string" && content.startsWith("data:")
    ? content : URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
}

async function picture(name, format) {
  const { data, layout } = fitted(name);
  const url = await Plotly.toImage({ data, layout }, {
    format, width: layout.width, height: layout.height, scale: format === "png" ? 2 : 1,
  });
  save(`nmsim-${name}.${format}`, url);
}

// What a figure shows, line by line: [series, x, y, ...], with its headings.
function numbers(name) {
  const { data, layout } = FIGURES[name];
  const lines = [];
  if (data[0].type === "parcoords") return axesTold(data[0]);
  for (const trace of data) {
    const series = plain(trace.name) || trace.type;
    if (trace.mode === "text") continue; // says what other marks show
    if (trace.type === "heatmap") {
      trace.z.forEach((row, at) => flat(row).forEach((value, along) => {
        if (value !== null) lines.push([series, flat(trace.x)[along], flat(trace.y)[at], value]);
      }));
    } else if (trace.x || trace.y) {
      const [x, y] = [flat(trace.x), flat(trace.y)];
      x.forEach((value, at) => {
        if (value !== null) lines.push([series, worded(layout.xaxis, value), worded(layout.yaxis, y[at])]);
      });
    }
  }
  const title = (axis) => plain(((axis || {}).title || {}).text || "");
  const heads = ["series", title(layout.xaxis) || "x", title(layout.yaxis) || "y"];
  return [data.some((trace) => trace.type === "heatmap") ? [...heads, "value"] : heads, ...lines];
}

function flat(values) {
  return Array.isArray(values) ? values : values ? unpacked(values) : [];
}

// Lines on parallel axes, one a line: [value on each axis], with the axes' names.
function axesTold({ dimensions }) {
  const columns = dimensions.map((axis) => flat(axis.values).map((value) => worded(axis, value)));
  const lines = columns[0].map((none, at) => columns.map((column) => column[at]));
  return [dimensions.map((axis) => plain(axis.name || axis.label)), ...lines];
}

// Where a figure writes names beside a line, its numbers are those names.
function worded(axis, value) {
  const at = axis && axis.tickvals && axis.ticktext ? axis.tickvals.indexOf(value) : -1;
  return at < 0 ? value : plain(axis.ticktext[at]);
}

// plotly writes long arrays as {dtype, bdata}.
function unpacked({ dtype, bdata }) {
  const kinds = { f8: Float64Array, f4: Float32Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array };
  return Array.from(new kinds[dtype](bytes(bdata).buffer));
}

function csv(lines) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && /^[=+\-@']/.test(text)) text = "'" + text; // no formula
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return lines.map((line) => line.map(cell).join(",") + "\n").join("");
}

function button(text, act, label) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent: text });
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

const MOST_TOLD = 500; // lines of a figure's text

function tell(name, details) {
  if (details.querySelector("table")) return;
  const [heads, ...lines] = numbers(name);
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of heads) head.append(Object.assign(document.createElement("th"), { textContent: text, scope: "col" }));
  const body = table.createTBody();
  for (const line of lines.slice(0, MOST_TOLD)) {
    const row = body.insertRow();
    for (const value of line) row.insertCell().textContent = typeof value === "number" ? shown(value) : value ?? "–";
  }
  const box = Object.assign(document.createElement("div"), { className: "scroll", tabIndex: 0 });
  box.setAttribute("role", "region");
  box.setAttribute("aria-label", "Numbers of the figure");
  box.append(table);
  details.append(box);
  const more = lines.length - MOST_TOLD;
  if (more > 0) details.append(`${more.toLocaleString("en")} lines more are in its CSV.`);
}

function toolsOf(name) {
  const tools = document.getElementById("tools-" + name);
  const title = plain((FIGURES[name].layout.title || {}).text);
  const choices = (FIGURES[name].layout.meta || {}).switch;
  if (choices) tools.append(switchOf(name, choices, title));
  tools.append(
    button("SVG", () => picture(name, "svg"), "Save as SVG: " + title),
    button("PNG", () => picture(name, "png"), "Save as PNG: " + title),
    button("CSV", () => save(`nmsim-${name}.csv`, csv(numbers(name)), "text/csv"), "Save numbers as CSV: " + title),
  );
  const details = document.createElement("details");
  details.append(Object.assign(document.createElement("summary"), { textContent: "As a table" }));
  details.addEventListener("toggle", () => tell(name, details));
  tools.append(details);
}

// A figure may show one of several sets of its traces.
function switchOf(name, choices, title) {
  const select = document.createElement("select");
  select.setAttribute("aria-label", "What is shown of: " + title);
  choices.forEach(([text], at) => select.append(new Option(text, String(at))));
  select.addEventListener("change", () => {
    const seen = choices[Number(select.value)][1];
    FIGURES[name].data.forEach((trace, at) => { trace.visible = seen[at] ? true : "legendonly"; });
    redraw(name);
  });
  return select;
}
