// ---- a design space: a brush on parallel axes, a front of any two measures

const MOST_LINES = 1000;
const MOST_DOTS = 2000;
const WIDE = 20; // greatest over least value from which on an axis is logarithmic

function spaceAbout() {
  const element = document.getElementById("space");
  return element ? JSON.parse(element.textContent) : null;
}

// Places of the points that no other is as good as in both and better in one, in order of x.
function frontOf(points, moreX, moreY) {
  const [sx, sy] = [moreX ? -1 : 1, moreY ? -1 : 1];
  const order = [...points].sort((one, other) => sx * (one.x - other.x) || sy * (one.y - other.y));
  const kept = [];
  for (const point of order) {
    if (!kept.length || sy * point.y < sy * kept[kept.length - 1].y) kept.push(point);
  }
  return kept;
}

function thinned(list, most) {
  const step = Math.max(1, Math.ceil(list.length / most));
  return list.filter((one, at) => at % step === 0);
}

function pointsOf(grid, x, y) {
  return grid.rows
    .filter((row) => (!grid.within || grid.within(row)) && typeof row[x] === "number" && typeof row[y] === "number")
    .map((row) => ({ x: row[x], y: row[y], row }));
}

function told(about, row, x, y) {
  const lines = about.fields.map((name) => `${name} ${shown(row[name])}`);
  const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return [...lines, `${shown(row[x])}, ${shown(row[y])}`].map(escape).join("<br>");
}

function drawFront(about, grid, x, y) {
  const figure = FIGURES.front;
  const points = pointsOf(grid, x.column, y.column);
  const best = frontOf(points, x.more, y.more);
  [thinned(points, MOST_DOTS), best].forEach((list, at) => {
    Object.assign(figure.data[at], {
      x: list.map((one) => one.x),
      y: list.map((one) => one.y),
      customdata: list.map((one) => one.row._number),
      hovertext: list.map((one) => told(about, one.row, x.column, y.column)),
    });
  });
  figure.data[1].line.shape = x.more === y.more ? "linear" : "hv";
  for (const [axis, measure] of [[figure.layout.xaxis, x], [figure.layout.yaxis, y]]) {
    axis.title = { ...axis.title, text: measure.title };
    delete axis.range;
    axis.uirevision = measure.title;
    delete axis.tickvals;
    delete axis.ticktext;
    if (measure.tickvals) Object.assign(axis, { tickvals: measure.tickvals, ticktext: measure.ticktext });
    const found = points.map((point) => (axis === figure.layout.xaxis ? point.x : point.y));
    const [low, high] = [Math.min(...found), Math.max(...found)];
    axis.type = low > 0 && high / low >= WIDE ? "log" : "linear";
    axis.autorange = true;
  }
  redraw("front");
}

// Which two measures the front is of.
function chooseFront(about, grid) {
  const bar = document.createElement("div");
  bar.className = "axes";
  const selects = ["across", "up"].map((side) => {
    const select = document.createElement("select");
    select.name = side;
    about.measures.forEach((one, at) => select.append(new Option(`${one.title}, ${one.more ? "more" : "less"} is better`, String(at))));
    select.value = String(about.measures.findIndex((one) => one.column === about[side]));
    const label = document.createElement("label");
    label.append(side === "across" ? "Across:" : "Up:", select);
    bar.append(label);
    return select;
  });
  const draw = () => drawFront(about, grid, ...selects.map((select) => about.measures[Number(select.value)]));
  for (const select of selects) select.addEventListener("change", draw);
  room("front").parentElement.before(bar);
  grid.refront = draw;
}

// Points within every brushed range; of many the front and an even sample get lines.
function brush(about, grid) {
  const place = room("speedup");
  const ranges = about.axes.map((axis, at) => {
    const { constraintrange } = place.data[0].dimensions[at];
    FIGURES.speedup.data[0].dimensions[at].constraintrange = constraintrange; // drawn again it has it
    if (!constraintrange) return null;
    const several = Array.isArray(constraintrange[0]) ? constraintrange : [constraintrange];
    return (row) => {
      const value = axis.places ? axis.places.indexOf(row[axis.column]) : row[axis.column];
      return several.some(([low, high]) => value >= low && value <= high);
    };
  });
  const tests = ranges.filter(Boolean);
  grid.within = tests.length ? (row) => tests.every((test) => test(row)) : null;
  filter(grid);
  if (grid.rows.length > MOST_LINES) relined(about, grid);
  if (grid.refront) grid.refront();
}

function relined(about, grid) {
  const [across, up] = ["across", "up"].map((side) => about.measures.find((one) => one.column === about[side]));
  const inside = grid.within ? grid.rows.filter(grid.within) : grid.rows;
  const best = new Set(frontOf(pointsOf(grid, across.column, up.column), across.more, up.more).map((one) => one.row));
  const others = inside.filter((row) => !best.has(row));
  const rows = [...best, ...thinned(others, MOST_LINES - Math.min(best.size, MOST_LINES - 1))].slice(0, MOST_LINES);
  const place = room("speedup");
  const [trace] = FIGURES.speedup.data; // drawn again it has these lines
  const change = {};
  about.axes.forEach((axis, at) => {
    const values = rows.map((row) => (axis.places ? axis.places.indexOf(row[axis.column]) : row[axis.column]));
    trace.dimensions[at].values = values;
    change[`dimensions[${at}].values`] = [values];
  });
  trace.line.color = rows.map((row) => row[about.shade]);
  change["line.color"] = [trace.line.color];
  grid.brushing = true;
  Plotly.restyle(place, change, [0]).then(() => { grid.brushing = false; });
}

function linkSpace(grid) {
  const about = spaceAbout();
  if (!about) return;
  if (FIGURES.front) chooseFront(about, grid);
  const place = room("speedup");
  if (!about.axes || !place) return;
  const listen = () => place.on("plotly_restyle", () => { if (!grid.brushing) brush(about, grid); });
  if (place.classList.contains("drawn")) listen();
  else place.addEventListener("drawn", listen, { once: true });
}

// ---- a point alone: the command that runs it, and its page where there is one

function tellChosen(number) {
  const box = document.getElementById("chosen");
  const grid = GRIDS.points;
  const row = grid && number !== null && grid.rows.find((one) => one._number === number);
  if (!box || !row) return;
  const about = JSON.parse(box.querySelector("script").textContent);
  const fields = (spaceAbout() || { fields: [] }).fields.map((name) => `${name} ${shown(row[name])}`);
  box.querySelector(".whose").textContent = fields.join(", ") || "The point";
  box.querySelector("code").textContent = row[about.column];
  const link = box.querySelector("p a");
  const address = about.pages[String(number)];
  link.hidden = !address;
  if (address) link.setAttribute("href", address);
}
