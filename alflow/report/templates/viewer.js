"use strict";
// Structures that turn: by dragging, or with the arrow keys. Lengths are hundredths of Å.
for (const place of document.querySelectorAll("[data-model]")) {
  const model = JSON.parse(place.dataset.model);
  const canvas = place.appendChild(document.createElement("canvas"));
  const words = place.querySelector("svg").getAttribute("aria-label");
  const pen = canvas.getContext("2d");
  const points = Float64Array.from(model.atoms.concat(model.box));
  const count = model.kinds.length;
  const at = (k) => [points[3 * k], -points[3 * k + 1]];
  const turn = (yaw, pitch) => {
    const [c, s, d, t] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    for (let k = 0; k < points.length; k += 3) {
      const [x, y, z] = points.subarray(k, k + 3);
      points.set([c * x + s * z, d * y - t * (c * z - s * x), t * y + d * (c * z - s * x)], k);
    }
    draw();
  };
  const stroke = (from, to, width, colour) => {
    pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to);
    pen.lineWidth = width; pen.strokeStyle = colour; pen.stroke();
  };
  const disc = (k, radius, width, colour) => {
    pen.beginPath(); pen.arc(...at(k), radius, 0, 7);
    pen.lineWidth = width; pen.strokeStyle = colour; pen.stroke();
  };
  const draw = () => {
    const side = canvas.clientWidth, dots = window.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * dots);
    const scale = side / 2 / model.reach, pixel = 1 / scale;
    pen.setTransform(dots * scale, 0, 0, dots * scale, canvas.width / 2, canvas.height / 2);
    pen.lineCap = "round";
    for (let k = count; k < points.length / 3; k += 2) stroke(at(k), at(k + 1), pixel, "#9aa5b1");
    const items = model.kinds.map((_, k) => [points[3 * k + 2], k]);
    for (let b = 0; b < model.bonds.length; b += 2) {
      const [i, j] = [model.bonds[b], model.bonds[b + 1]];
      items.push([(points[3 * i + 2] + points[3 * j + 2]) / 2 - 1, i, j]);
    }
    for (const [z, i, j] of items.sort((a, b) => a[0] - b[0])) {
      pen.globalAlpha = 1;
      if (j !== undefined) { stroke(at(i), at(j), 2.5 * pixel, "#6b7280"); continue; }
      const [colour, radius] = model.elements[model.kinds[i]];
      pen.beginPath(); pen.arc(...at(i), radius, 0, 7); pen.fillStyle = "#fff"; pen.fill();
      pen.globalAlpha = 0.72 + 0.28 * z / model.reach;
      pen.fillStyle = colour; pen.fill();
      pen.lineWidth = 0.8 * pixel; pen.strokeStyle = "#1f2933"; pen.stroke();
    }
    pen.globalAlpha = 1;
    if (model.ring < 0) return;
    const radius = model.elements[model.kinds[model.ring]][1] + 3 * pixel;
    disc(model.ring, radius, 5 * pixel, "#fff");
    disc(model.ring, radius, 2.4 * pixel, "#d55e00");
  };
  const keys = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] };
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons) turn(event.movementX / 100, event.movementY / 100);
  });
  place.addEventListener("keydown", (event) => {
    if (keys[event.key]) { turn(...keys[event.key]); event.preventDefault(); }
  });
  place.tabIndex = 0;
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", words);
  place.classList.add("live");
  new ResizeObserver(draw).observe(canvas);
}
