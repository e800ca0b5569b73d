"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const PER_PAGE = 24;
  const HALF = 32767; // an IoU of 0.5, in steps of 1/65534
  const hasMaps = data.maps.length > 0;
  const state = { page: 0 };

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  // The file is little-endian on every machine.
  const numbers = (text) => {
    const view = new DataView(bytes(text).buffer);
    return Array.from({ length: view.byteLength / 2 }, (_, i) => view.getUint16(2 * i, true));
  };
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const fixed = (value, digits) => (value === null ? "?" : value.toFixed(digits));

  for (const item of data.items) {
    item.of = data.images[item.image];
    for (const found of item.found) {
      found.iou = numbers(found.iou);
      found.boxes = numbers(found.boxes);
      found.values = bytes(found.values);
    }
  }

  // Five colors of viridis; those between are interpolated.
  const COLORS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  const PALETTE = Array.from({ length: 256 }, (_, v) => {
    const place = (v / 255) * (COLORS.length - 1);
    const low = Math.min(Math.floor(place), COLORS.length - 2);
    return [0, 1, 2].map((c) => COLORS[low][c] + (place - low) * (COLORS[low + 1][c] - COLORS[low][c]));
  });

  function drawMap(found) {
    const [height, width] = found.shape;
    const canvas = element("canvas");
    [canvas.width, canvas.height] = [width, height];
    const pixels = new ImageData(width, height);
    found.values.forEach((value, i) => pixels.data.set([...PALETTE[value], 255], 4 * i));
    canvas.getContext("2d").putImageData(pixels, 0, 0);
    return canvas;
  }

  function rectangle(svg, box, className) {
    const [x0, y0, x1, y1] = box;
    const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const place = { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: className };
    for (const [name, value] of Object.entries(place)) made.setAttribute(name, value);
    svg.append(made);
  }

  function drawBoxes(svg, item, map, threshold) {
    svg.replaceChildren();
    for (const box of item.truth) rectangle(svg, box, "under");
    if (map >= 0) {
      const box = item.found[map].boxes.slice(4 * threshold, 4 * threshold + 4);
      for (const className of ["under", "found"]) rectangle(svg, box, className);
    }
    // Dashes over the found box show both where they are equal.
    for (const box of item.truth) rectangle(svg, box, "true");
  }

  function picture(item, map, threshold) {
    const made = element("div", data.height < 100 ? "picture small" : "picture");
    made.style.aspectRatio = `${data.width} / ${data.height}`;
    const image = element("img");
    image.src = item.of.source;
    image.alt = item.of.name || `test image ${item.of.row}`;
    made.append(image);
    if (map >= 0) made.append(drawMap(item.found[map]));
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${data.width} ${data.height}`);
    made.append(svg);
    drawBoxes(svg, item, map, threshold);
    return made;
  }

  const chosenMap = () => (hasMaps ? Number(byId("map").value) : -1);
  const chosenThreshold = () => (hasMaps ? Number(byId("threshold").value) : 0);
  const isScored = (item, map) => map >= 0 && item.truth.length > 0;
  const overlap = (item, map, threshold) => item.found[map].iou[threshold];
  const isHit = (item, map, threshold) => isScored(item, map) && overlap(item, map, threshold) >= HALF;

  function words(item, map, threshold) {
    const lines = [element("div", "", item.label)];
    if (!item.right || item.of.prediction !== item.of.label) {
      const text = `predicted: ${item.of.prediction || "none"}`;
      lines.push(element("div", item.right ? "" : "wrong", text));
    }
    let text = `PMI ${fixed(item.pmi, 2)} nats`;
    if (isScored(item, map)) text += `, IoU ${(overlap(item, map, threshold) / 65534).toFixed(2)}`;
    lines.push(element("div", "", text));
    return lines;
  }

  function select(map, threshold) {
    const wanted = byId("class").value;
    const tests = {
      all: () => true,
      right: (item) => item.right,
      wrong: (item) => !item.right,
      hit: (item) => isHit(item, map, threshold),
      miss: (item) => isScored(item, map) && !isHit(item, map, threshold),
    };
    const kept = data.items.filter((item) => (!wanted || item.label === wanted) && tests[byId("show").value](item));
    // Unknown values come last in both orders.
    const by = (value, sign) => (item) => (value(item) === null ? Infinity : sign * value(item));
    const pmi = (item) => item.pmi;
    const iou = (item) => (isScored(item, map) ? overlap(item, map, threshold) : null);
    const keys = { pmi: by(pmi, 1), "pmi-high": by(pmi, -1), iou: by(iou, 1), "iou-high": by(iou, -1) };
    const key = keys[byId("order").value];
    return key ? kept.sort((a, b) => key(a) - key(b) || a.image - b.image) : kept;
  }

  function accuracy(items, map, threshold) {
    const scored = items.filter((item) => isScored(item, map));
    if (!scored.length) return "";
    const hits = scored.filter((item) => isHit(item, map, threshold));
    const both = hits.filter((item) => item.right);
    const share = (part) => `${((100 * part.length) / scored.length).toFixed(2)}%`;
    return ` Localization at IoU 0.5: GT-known ${share(hits)}, Top-1 ${share(both)} of ${scored.length}.`;
  }

  function show() {
    const [map, threshold] = [chosenMap(), chosenThreshold()];
    if (hasMaps) {
      const text = String(data.thresholds[threshold]);
      byId("threshold-value").textContent = text;
      byId("threshold").setAttribute("aria-valuetext", text);
      for (const part of document.querySelectorAll(".boxes")) part.disabled = map < 0;
    }
    const items = select(map, threshold);
    const pages = Math.max(1, Math.ceil(items.length / PER_PAGE));
    state.page = Math.min(state.page, pages - 1);
    const part = data.images.length < data.count ? ` (${data.images.length} of ${data.count} test images are in this file)` : "";
    byId("status").textContent = `${items.length || "none"} of ${data.items.length} match${part}.${accuracy(items, map, threshold)}`;
    byId("page").textContent = `page ${state.page + 1} of ${pages}`;
    byId("previous").disabled = state.page === 0;
    byId("next").disabled = state.page === pages - 1;
    const first = state.page * PER_PAGE;
    byId("cards").replaceChildren(
      ...items.slice(first, first + PER_PAGE).map((item) => {
        const card = element("button", "card");
        card.type = "button";
        const text = element("div", "words");
        text.append(...words(item, map, threshold));
        card.append(picture(item, map, threshold), text);
        card.addEventListener("click", () => showDetail(item));
        return card;
      }),
    );
  }

  function showDetail(item) {
    const threshold = chosenThreshold();
    byId("detail-title").textContent = `${item.label}: ${item.of.name || `test image ${item.of.row}`}`;
    const maps = hasMaps ? data.maps.map((_, i) => i) : [-1];
    byId("detail-maps").replaceChildren(
      ...maps.map((map) => {
        const figure = element("div");
        figure.append(picture(item, map, threshold));
        let text = map < 0 ? "" : data.maps[map];
        if (isScored(item, map)) text += `, IoU ${(overlap(item, map, threshold) / 65534).toFixed(2)}`;
        figure.append(element("div", "words", text));
        return figure;
      }),
    );
    const table = byId("detail-classes");
    table.replaceChildren();
    const head = table.createTHead().insertRow();
    const body = table.createTBody();
    for (const title of ["likeliest", "probability", "PMI, nats"]) head.append(element("th", "", title));
    for (const [name, probability, pmi] of item.of.top) {
      const row = body.insertRow();
      row.append(element("th", "", name), element("td", "", fixed(probability, 3)), element("td", "", fixed(pmi, 2)));
    }
    byId("detail").showModal();
    byId("detail-title").focus();
    byId("detail").scrollTop = 0;
  }

  function start() {
    if (hasMaps) {
      data.maps.forEach((name, i) => byId("map").add(new Option(name, i)));
      byId("map").add(new Option("image only", -1));
      byId("map").value = data.maps.length - 1;
      byId("threshold").max = data.thresholds.length - 1;
      byId("threshold").value = data.start;
    } else {
      document.querySelectorAll(".maps").forEach((made) => made.remove());
    }
    const names = [...new Set(data.items.map((item) => item.label))];
    names.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    for (const name of names) byId("class").add(new Option(name, name));
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    byId("controls").addEventListener("input", (event) => {
      // A new map or threshold keeps the page, any other choice starts at the first.
      if (!["map", "threshold"].includes(event.target.id)) state.page = 0;
      show();
    });
    byId("previous").addEventListener("click", () => { state.page -= 1; show(); });
    byId("next").addEventListener("click", () => { state.page += 1; show(); });
    show();
  }
  start();
})();
