
"use strict";
(() => {
  const by = id => document.getElementById(id);
  const { items, measures, chunk } = JSON.parse(by("data").textContent);
  const thumbs = document.getElementsByClassName("thumbs");
  const unpacked = new Map();
  const present = measures.filter(m => items.some(item => item[m.key] !== undefined));

  // --- pictures: [before, after, mask, truth, again], unpacked a chunk at a time

  function pictures(index) {
    const n = Math.floor(index / chunk);
    if (!unpacked.has(n)) unpacked.set(n, JSON.parse(thumbs[n].textContent));
    return unpacked.get(n)[index % chunk];
  }
  const uri = picture => "data:image/webp;base64," + picture;

  function show(img, picture) {
    if (picture) img.src = uri(picture);
    else img.removeAttribute("src");
  }
  function colour(tint, picture) {
    tint.classList.toggle("on", Boolean(picture));
    const url = picture ? `url("${uri(picture)}")` : "none";
    tint.style.setProperty("-webkit-mask-image", url);
    tint.style.setProperty("mask-image", url);
  }
  function written(measure, value) {
    if (value === undefined) return "–";
    if (measure.percent) return (100 * value).toFixed(1) + " %";
    return Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 3 : 1);
  }
  function tag(parent, flags) {
    parent.replaceChildren(...flags.map(flag => {
      const label = document.createElement("b");
      label.textContent = flag;
      return label;
    }));
  }

  // --- tiles, filled while they are near the window

  const tiles = items.map((item, index) => {
    const tile = by("tile").content.firstElementChild.cloneNode(true);
    tile.dataset.index = index;
    tile.querySelector(".name").textContent = item.name;
    tile.title = `${item.name}, ${item.defect}, ${item.direction}`;
    tag(tile.querySelector(".tags"), item.flags);
    return tile;
  });
  const near = new IntersectionObserver(entries => {
    for (const { target, isIntersecting } of entries) fill(target, isIntersecting);
  }, { rootMargin: "600px" });
  tiles.forEach(tile => near.observe(tile));

  function fill(tile, visible) {
    const [before, after, mask, truth] = visible ? pictures(Number(tile.dataset.index)) : [];
    show(tile.querySelector(".before"), before);
    tile.querySelectorAll(".after").forEach(img => show(img, after));
    show(tile.querySelector(".mask"), mask);
    colour(tile.querySelector(".truth"), truth);
    colour(tile.querySelector(".found"), mask);
  }

  // --- filter, sort, show

  const controls = ["class", "direction", "flag", "sort", "grouped", "find"].map(by).filter(Boolean);
  let shown = [];
  let ascending = true;

  function passes(item) {
    const [kind, direction, flag] = ["class", "direction", "flag"].map(id => by(id)?.value ?? "");
    const text = by("find").value.toLowerCase();
    return (!kind || item.defect === kind) && (!direction || item.direction === direction)
      && (!text || item.name.toLowerCase().includes(text))
      && (!flag || (flag === "*" ? item.flags.length > 0 : flag === "-" ? !item.flags.length : item.flags.includes(flag)));
  }
  function compare(a, b) {
    const key = by("sort").value;
    if (!key) return ascending ? a - b : b - a;
    const [x, y] = [items[a][key], items[b][key]];
    if (x === undefined || y === undefined) return (x === undefined) - (y === undefined) || a - b;
    const order = typeof x === "string" ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
    return (ascending ? order : -order) || a - b;
  }
  function update() {
    const key = by("sort").value;
    const sorted = items.map((_, i) => i).filter(i => passes(items[i])).sort(compare);
    const groups = new Map();
    for (const i of sorted) {
      const group = by("grouped").checked ? `${items[i].defect}, ${items[i].direction}` : "";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(i);
    }
    const names = [...groups.keys()];
    if (by("grouped").checked) names.sort((a, b) => Math.min(...groups.get(a)) - Math.min(...groups.get(b)));
    shown = names.flatMap(name => groups.get(name));
    by("gallery").replaceChildren(...names.flatMap(name => block(name, groups.get(name))));
    for (const i of shown) tiles[i].querySelector(".value").textContent = line(items[i], key);
    by("count").textContent = `${shown.length} of ${items.length}`;
    by("nothing").hidden = shown.length > 0;
    by("order").textContent = ascending ? "↑" : "↓";
    histograms();
  }
  function block(name, members) {
    const grid = document.createElement("div");
    grid.className = "grid";
    grid.append(...members.map(i => tiles[i]));
    if (!name) return [grid];
    const heading = document.createElement("h3");
    const count = document.createElement("span");
    heading.textContent = name + " ";
    count.textContent = String(members.length);
    heading.append(count);
    return [heading, grid];
  }
  function line(item, key) {
    const keys = [...new Set([key, "area", "iou", "agreement", "components", "border"])];
    return keys.map(k => present.find(m => m.key === k)).filter(m => m && item[m.key] !== undefined).slice(0, 3)
      .map(m => `${m.label} ${written(m, item[m.key])}`).join("  ·  ");
  }

  // --- histograms of what is shown

  const BINS = 24;
  function histograms() {
    by("histograms").replaceChildren(...present.filter(m => m.key !== "strays").map(histogram));
  }
  function histogram(measure) {
    const members = shown.filter(i => items[i][measure.key] !== undefined);
    const values = members.map(i => items[i][measure.key]);
    const most = values.reduce((a, b) => Math.max(a, b), 0) || 1;
    const all = new Array(BINS).fill(0), flagged = new Array(BINS).fill(0);
    for (const i of members) {
      const bin = Math.min(BINS - 1, Math.floor(items[i][measure.key] / most * BINS));
      all[bin] += 1;
      if (items[i].flags.length) flagged[bin] += 1;
    }
    const high = Math.max(1, ...all);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${BINS * 10} 54`);
    svg.setAttribute("preserveAspectRatio", "none");
    for (const [counts, name] of [[all, "all"], [flagged, "flagged"]]) {
      counts.forEach((count, bin) => {
        if (!count) return;
        const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        const height = Math.max(2, count / high * 52);
        const box = { x: bin * 10 + 1, y: 54 - height, width: 8, height };
        for (const [k, v] of Object.entries(box)) bar.setAttribute(k, v);
        bar.setAttribute("class", name);
        svg.append(bar);
      });
    }
    const sum = values.reduce((a, b) => a + b, 0);
    const chart = document.createElement("button");
    chart.type = "button";
    chart.title = measure.text;
    chart.setAttribute("aria-pressed", String(by("sort").value === measure.key));
    const head = document.createElement("b"), mean = document.createElement("small"), ends = document.createElement("span");
    head.textContent = measure.label;
    mean.textContent = values.length ? "mean " + written(measure, sum / values.length) : "none";
    head.append(mean);
    ends.className = "ends";
    for (const end of [0, most]) ends.append(Object.assign(document.createElement("span"), { textContent: written(measure, end) }));
    chart.append(head, svg, ends);
    chart.addEventListener("click", () => {
      if (by("sort").value === measure.key) ascending = !ascending;
      else ascending = true;
      by("sort").value = measure.key;
      update();
    });
    return chart;
  }

  // --- one image

  let open = -1;
  function view(index) {
    open = index;
    const item = items[index];
    const [before, after, mask, truth, again] = pictures(index);
    show(by("before"), before);
    show(by("after"), after);
    show(by("mask"), mask);
    colour(by("truth"), truth);
    show(by("again"), again);
    colour(by("tint"), mask);
    by("second").hidden = !again;
    by("title").textContent = item.name;
    by("place").textContent = `${item.defect}, ${item.direction}  ·  ${shown.indexOf(index) + 1} of ${shown.length}`;
    tag(by("tags"), item.flags);
    by("values").replaceChildren(...present.filter(m => item[m.key] !== undefined).flatMap(m => {
      const texts = { dt: m.label, small: m.text, dd: written(m, item[m.key]) };
      return Object.entries(texts).map(([kind, text]) => Object.assign(document.createElement(kind), { textContent: text, title: m.text }));
    }));
    if (!by("viewer").open) by("viewer").showModal();
    by("viewer").focus();
  }
  function step(count) {
    const place = shown.indexOf(open) + count;
    if (place >= 0 && place < shown.length) view(shown[place]);
  }
  function cut(percent) {
    by("cut").value = percent;
    by("stage").style.setProperty("--cut", percent + "%");
  }
  function fade(percent) {
    for (const id of ["opacity", "strength"]) by(id).value = percent;
    document.documentElement.style.setProperty("--opacity", percent / 100);
    by("strong").textContent = percent + " %";
  }
  function drag(event) {
    if (event.buttons !== 1) return;
    const box = by("stage").getBoundingClientRect();
    cut(Math.round(Math.min(100, Math.max(0, (event.clientX - box.left) / box.width * 100))));
  }

  // --- keyboard

  function nextTile(tile, key) {
    const place = shown.indexOf(Number(tile.dataset.index));
    if (key === "ArrowRight" || key === "ArrowLeft") return tiles[shown[place + (key === "ArrowRight" ? 1 : -1)]];
    const way = key === "ArrowDown" ? 1 : -1;
    const from = tile.getBoundingClientRect();
    let best, top;
    for (let i = place + way; i >= 0 && i < shown.length; i += way) {
      const box = tiles[shown[i]].getBoundingClientRect();
      if (Math.abs(box.top - from.top) < 2) continue;
      top ??= box.top;
      if (Math.abs(box.top - top) > 2) break;
      if (!best || Math.abs(box.left - from.left) < Math.abs(best.getBoundingClientRect().left - from.left)) best = tiles[shown[i]];
    }
    return best;
  }
  document.addEventListener("keydown", event => {
    const typing = event.target.matches("input, select");
    if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
    if (by("viewer").open) {
      if (event.key === "ArrowRight") step(1);
      else if (event.key === "ArrowLeft") step(-1);
      else if (event.key === " " && !event.target.matches("button")) cut(Number(by("cut").value) > 50 ? 0 : 100);
      else return;
      event.preventDefault();
    } else if (event.key.startsWith("Arrow") && by("gallery").contains(event.target)) {
      const tile = event.target.closest(".tile");
      const to = tile ? nextTile(tile, event.key) : tiles[shown[0]];
      if (to) to.focus();
      event.preventDefault();
    }
  });

  // --- wiring

  controls.forEach(control => control.addEventListener(control.type === "search" ? "input" : "change", update));
  by("order").addEventListener("click", () => { ascending = !ascending; update(); });
  by("reset").addEventListener("click", () => {
    for (const id of ["class", "direction", "flag", "find"]) if (by(id)) by(id).value = "";
    update();
  });
  by("gallery").addEventListener("click", event => {
    const tile = event.target.closest(".tile");
    if (tile) view(Number(tile.dataset.index));
  });
  by("gallery").addEventListener("focusin", event => { if (event.target.matches(".tile")) by("gallery").tabIndex = -1; });
  by("gallery").addEventListener("focusout", () => { by("gallery").tabIndex = 0; });
  document.querySelectorAll("[data-flag], [data-class]").forEach(button => button.addEventListener("click", () => {
    for (const [name, value] of Object.entries(button.dataset)) if (by(name)) by(name).value = value;
    update();
    by("tools").scrollIntoView({ behavior: "smooth" });
  }));
  by("previous").addEventListener("click", () => step(-1));
  by("next").addEventListener("click", () => step(1));
  by("close").addEventListener("click", () => by("viewer").close());
  by("viewer").addEventListener("close", () => tiles[open]?.focus());
  by("viewer").addEventListener("click", event => { if (event.target === by("viewer")) by("viewer").close(); });
  by("cut").addEventListener("input", event => cut(Number(event.target.value)));
  for (const id of ["opacity", "strength"]) by(id).addEventListener("input", event => fade(Number(event.target.value)));
  by("stage").addEventListener("pointerdown", drag);
  by("stage").addEventListener("pointermove", drag);

  fade(Number(by("opacity").value));
  cut(50);
  update();
})();
