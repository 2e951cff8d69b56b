// Draws the report from the data in the page. Plotly draws the pictures; everything else is the browser's own.
"use strict";
/** Draw what the page says of one network, whose elements have ids that begin with a prefix; returns how to redraw it. */
function start(data, prefix) {
  const find = (id) => document.getElementById(prefix + id);
  const state = { site: 0, epoch: data.shown.length - 1, drawn: null };
  const charts = new Map(); // id → how to draw it again in other colours
  const homes = new Map(); // id → the layout that shows everything

  // ---- values -------------------------------------------------------------------------------------------------------

  /** The inverse of stripe/report/encode.py: a function from the index of a slice to its values, NaN where missing. */
  function decode(encoded) {
    const bytes = Uint8Array.from(atob(encoded.codes), (c) => c.charCodeAt(0));
    const codes = encoded.bits === 8 ? bytes : new Uint16Array(bytes.buffer);
    const top = 2 ** encoded.bits - 2;
    const size = codes.length / encoded.shape[0];
    return (slice) => {
      const [low, high] = [encoded.low[slice], encoded.high[slice]];
      const part = codes.subarray(slice * size, (slice + 1) * size);
      return Float64Array.from(part, (code) => (code > top ? NaN : low + ((high - low) * code) / top));
    };
  }

  /** A flat array as rows. */
  function rows(values, columns) {
    return Array.from({ length: values.length / columns }, (_, i) => values.subarray(i * columns, (i + 1) * columns));
  }

  const transposed = (matrix) => Array.from(matrix[0], (_, j) => matrix.map((row) => row[j]));
  const count = (start, step, length) => Array.from({ length }, (_, i) => start + i * step);

  /** Text for Plotly, which would read tags in it. */
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const number = (value) => (Number.isFinite(value) ? value.toPrecision(3) : "undefined");

  /** Least and greatest of the values that are there. */
  function extent(arrays) {
    let [low, high] = [Infinity, -Infinity];
    for (const values of arrays) {
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    return [low, high];
  }

  /** The same in words. */
  const span = (arrays) => extent(arrays).map(number).join(" to ");

  // ---- pictures -----------------------------------------------------------------------------------------------------

  function theme() {
    const style = getComputedStyle(document.documentElement);
    return (name) => style.getPropertyValue(`--${name}`).trim();
  }

  const axis = (title, more = {}) => ({ title: { text: title }, ticks: "", zeroline: false, ...more });

  /** Draw into an element, in the colours of the page; `figure` gives {data, layout, alt}. */
  function draw(id, figure) {
    charts.set(id, figure);
    const colour = theme();
    const { data: traces, layout, alt } = figure(colour);
    const lines = { gridcolor: colour("line"), linecolor: colour("line"), tickcolor: colour("line") };
    const full = {
      font: { family: "system-ui, sans-serif", size: 12, color: colour("text") },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 50, r: 12, t: 12, b: 45 },
      // A finger that scrolls the page must not zoom the picture.
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hoverlabel: { font: { family: "system-ui, sans-serif" } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("quiet"), activecolor: colour("accent") },
      ...layout,
    };
    for (const key of Object.keys(full)) {
      if (/^[xy]axis/.test(key)) full[key] = { ...lines, ...full[key] };
    }
    homes.set(id, structuredClone(full));
    const element = find(id);
    element.setAttribute("aria-label", alt);
    // Nothing of the page leaves the computer: no button that uploads the picture.
    const share = { showSendToCloud: false, plotlyServerURL: "" };
    const config = {
      ...share,
      responsive: true,
      displaylogo: false,
      modeBarButtonsToRemove: ["autoScale2d"],
      toImageButtonOptions: { filename: `stripe-${id}`, scale: 2 },
    };
    return Plotly.react(element, traces, full, config);
  }

  function heatmap(z, { scale, limits, unit, ...more }) {
    return {
      type: "heatmap",
      z,
      colorscale: data.colours[scale],
      zmin: limits[0],
      zmax: limits[1],
      hoverongaps: false,
      colorbar: {
        orientation: "h",
        x: 0,
        xanchor: "left",
        y: 1,
        yanchor: "bottom",
        len: 1,
        thickness: 9,
        outlinewidth: 0,
        ypad: 4,
        title: { text: unit, side: "top" },
        nticks: 6,
      },
      ...more,
    };
  }

  const heatmapLayout = (colour, more) => ({
    plot_bgcolor: colour("missing"),
    margin: { l: 55, r: 12, t: 54, b: 45 },
    ...more,
  });

  /** + − arrows and 0 on a picture that has the focus. */
  function keys(event) {
    const steps = {
      "+": [0.5, 0, 0],
      "=": [0.5, 0, 0],
      "-": [2, 0, 0],
      ArrowLeft: [1, -0.2, 0],
      ArrowRight: [1, 0.2, 0],
      ArrowUp: [1, 0, 0.2],
      ArrowDown: [1, 0, -0.2],
    };
    const chart = event.currentTarget;
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in steps || event.key === "0")) return;
    event.preventDefault();
    const change = {};
    for (const [name, { range }] of Object.entries(chart.layout).filter(([key]) => /^[xy]axis/.test(key))) {
      if (event.key === "0") {
        const home = homes.get(chart.id.slice(prefix.length))[name];
        if (home.range) change[`${name}.range`] = home.range;
        else change[`${name}.autorange`] = home.autorange ?? true;
        continue;
      }
      const [zoom, right, up] = steps[event.key];
      const half = (range[1] - range[0]) / 2;
      const middle = range[0] + half + 2 * half * (name.startsWith("x") ? right : up);
      change[`${name}.range`] = [middle - half * zoom, middle + half * zoom];
    }
    Plotly.relayout(chart, change);
  }

  // ---- the network --------------------------------------------------------------------------------------------------

  const network = data.sites.length ? decode(data.index) : null;
  const indices = data.sites.map((_, i) => network(i)); // sites × epochs

  function drawIndex() {
    const shorten = (name) => (name.length > 28 ? `${name.slice(0, 13)}…${name.slice(-14)}` : name);
    const label = (i) =>
      i === state.site ? `<b>▸ ${plain(shorten(data.sites[i].short))}</b>` : plain(shorten(data.sites[i].short));
    const names = data.sites.map((site) => plain(site.name));
    const every = Math.ceil(names.length / 60); // more names than that would overlap
    const labelled = count(0, every, Math.ceil(names.length / every));
    const epochs = data.epochs.map(String);
    return draw("index-chart", (colour) => {
      const column = data.epochs.indexOf(data.shown[state.epoch]);
      const here = { type: "rect", line: { color: colour("mark"), width: 3 }, layer: "above" };
      return {
        data: [
          heatmap(indices, {
            scale: "values",
            limits: [0, 1],
            unit: "stripe index η²",
            x: epochs,
            customdata: names.map((name) => Array(epochs.length).fill(name)),
            hovertemplate: "%{customdata}<br>epoch %{x}<br>η² = %{z:.3f}<extra></extra>",
          }),
        ],
        layout: heatmapLayout(colour, {
          xaxis: axis("epoch", { type: "category" }),
          yaxis: axis("", {
            automargin: true,
            autorange: "reversed",
            tickvals: labelled,
            ticktext: labelled.map(label),
          }),
          shapes: [
            { ...here, x0: -0.5, x1: epochs.length - 0.5, y0: state.site - 0.5, y1: state.site + 0.5 },
            {
              ...here,
              line: { ...here.line, width: 1, dash: "dot" },
              x0: column - 0.5,
              x1: column + 0.5,
              y0: -0.5,
              y1: names.length - 0.5,
            },
          ],
          uirevision: "index",
        }),
        alt: `Stripe index of ${names.length} sites at ${epochs.length} epochs; the table below says the last of them.`,
      };
    });
  }

  // ---- a site -------------------------------------------------------------------------------------------------------

  let decoded = {};
  /** The values of the chosen site, decoded once. */
  function values(name) {
    if (decoded.site !== state.site) decoded = { site: state.site };
    return (decoded[name] ??= decode(data.sites[state.site][name]));
  }

  const isMap = (site) => site.features.length === 2;
  const places = (site) => count((site.group - 1) / 2, site.group, site.features.at(-1));
  const what = (site) => (isMap(site) ? "position" : site.columns);
  const averaged = (site) => (site.group === 1 ? "" : ` (mean of ${site.group ** site.features.length})`);

  function drawAttention() {
    const site = data.sites[state.site];
    const columns = site.attention.shape[2];
    const matrix = rows(values("attention")(state.epoch), columns);
    const ids = count(0, site.step, matrix.length);
    const names = ids.map((id) => plain(data.classes[data.labels[id]] ?? ""));
    const epoch = data.shown[state.epoch];
    const place = isMap(site) ? count(0, 1, columns) : places(site);
    find("attention-title").textContent = `Attention v, image × ${what(site)}, epoch ${epoch}`;
    return draw("attention-chart", (colour) => ({
      data: [
        heatmap(matrix, {
          scale: "values",
          limits: site.limits,
          unit: "attention value v",
          x: place,
          y: ids,
          customdata: names.map((name) => Array(columns).fill(name)),
          hovertemplate: `image %{y} %{customdata}<br>${plain(what(site))} %{x}${averaged(site)}<br>v = %{z:.4g}<extra></extra>`,
        }),
      ],
      layout: heatmapLayout(colour, {
        xaxis: axis(plain(`${what(site)}${isMap(site) ? " (row by row)" : ""}`)),
        yaxis: axis("image", { autorange: "reversed" }),
        uirevision: `site ${state.site}`,
      }),
      alt:
        `Attention of ${site.name} at epoch ${epoch}: ${matrix.length} images × ${columns} ${what(site)}s, ` +
        `values from ${span(matrix)}.`,
    }));
  }

  function drawStd() {
    const site = data.sites[state.site];
    const epoch = data.shown[state.epoch];
    if (isMap(site)) {
      find("std-title").textContent = `Mean and standard deviation of the maps over images, epoch ${epoch}`;
      const maps = [values("mean")(state.epoch), values("std")(state.epoch)];
      return drawMaps(
        "std-chart",
        `Maps of ${site.name} at epoch ${epoch}`,
        "position",
        site.features,
        ...maps,
        site.group,
      );
    }
    find("std-title").textContent = `Standard deviation over images, by ${what(site)}, epoch ${epoch}`;
    const floor = 1e-6; // a logarithmic axis has no 0
    const sides = [
      ["input_std", "before attention (mean of the map)", "second"],
      ["std", "after: attention v", "first"],
    ].filter(([name]) => site[name]);
    const [low, high] = extent(
      sides.flatMap(([name]) => site[name].low.map((_, i) => values(name)(i).map((v) => Math.max(v, floor)))),
    );
    const range = low <= high ? [Math.log10(low) - 0.15, Math.log10(high) + 0.15] : [-6, 0];
    return draw("std-chart", (colour) => ({
      data: sides.map(([name, label, tone]) => ({
        type: "scatter",
        mode: "markers",
        name: label,
        x: places(site),
        y: values(name)(state.epoch).map((v) => Math.max(v, floor)),
        marker: { color: colour(tone), size: site.features[0] > 200 ? 4 : 6 },
        hovertemplate: `${plain(what(site))} %{x}${averaged(site)}<br>σ = %{y:.3g}<extra></extra>`,
      })),
      layout: {
        xaxis: axis(plain(what(site))),
        yaxis: axis("σ over images (log scale)", {
          type: "log",
          range,
          tickformat: "~g",
          dtick: range[1] - range[0] < 2 ? "D2" : 1, // 1, 2, 5, 10 or powers of ten: more numbers have no room
          automargin: true,
        }),
        showlegend: true,
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        margin: { l: 60, r: 12, t: 50, b: 45 },
        uirevision: `site ${state.site}`,
      },
      alt:
        `Standard deviation over images of ${site.name} at epoch ${epoch}: ` +
        sides.map(([name, label]) => `${label}, from ${span([values(name)(state.epoch)])}`).join("; ") +
        ".",
    }));
  }

  /** Mean and std of maps, side by side. */
  function drawMaps(id, about, unit, [height, width], mean, std, group) {
    const maps = [
      ["mean", mean, "values"],
      ["std", std, "differences"],
    ].filter(([, flat]) => flat);
    const share = 1 / maps.length;
    const [x, y] = [width, height].map((size) => count((group - 1) / 2, group, size));
    return draw(id, (colour) => {
      const layout = { margin: { l: 50, r: 12, t: 54, b: 45 } };
      const traces = maps.map(([name, flat, scale], i) => {
        const nth = i ? i + 1 : "";
        const domain = [i * share + (i ? 0.06 : 0), (i + 1) * share - (i < maps.length - 1 ? 0.06 : 0)];
        layout[`xaxis${nth}`] = axis(`x (${unit})`, { domain, anchor: `y${nth}`, constrain: "domain" });
        layout[`yaxis${nth}`] = axis(i ? "" : `y (${unit})`, {
          anchor: `x${nth}`,
          scaleanchor: `x${nth}`,
          autorange: "reversed",
          constrain: "domain",
        });
        const [low, high] = extent([flat]);
        const limits = low < high ? [low, high] : [low - 1e-3, low + 1e-3];
        const trace = heatmap(rows(flat, width), {
          scale,
          limits,
          unit: name,
          x,
          y,
          xaxis: `x${nth}`,
          yaxis: `y${nth}`,
          hovertemplate: `x %{x}, y %{y}<br>${name} %{z:.4g}<extra></extra>`,
        });
        trace.colorbar = {
          ...trace.colorbar,
          x: domain[0],
          len: domain[1] - domain[0],
          tickvals: limits,
          ticktext: limits.map(number),
        };
        return trace;
      });
      return {
        data: traces,
        layout,
        alt: `${about}: ` + maps.map(([name, flat]) => `${name} from ${span([flat])}`).join("; ") + ".",
      };
    });
  }

  function drawDiff() {
    const site = data.sites[state.site];
    find("diff-chart").hidden = !site.diff;
    find("diff-empty").hidden = Boolean(site.diff);
    find("diff-title").textContent = `Change from epoch to epoch, ${what(site)} × epoch`;
    if (!site.diff) return null;
    const matrix = transposed(rows(values("diff")(0), site.diff.shape[2]));
    const place = isMap(site) ? count(0, 1, matrix.length) : places(site);
    return draw("diff-chart", (colour) => ({
      data: [
        heatmap(matrix, {
          scale: "differences",
          limits: [0, site.diff_limit],
          unit: "mean over images of |v[t+1] − v[t]|",
          x: data.differences,
          y: place,
          hovertemplate: `${plain(what(site))} %{y}${averaged(site)}<br>to epoch %{x}<br>%{z:.3g}<extra></extra>`,
        }),
      ],
      layout: heatmapLayout(colour, {
        xaxis: axis("epoch t+1", { type: "category" }),
        yaxis: axis(plain(what(site))),
        uirevision: `site ${state.site}`,
      }),
      alt: `Change of ${site.name} from epoch to epoch: up to ${number(extent(matrix)[1])}.`,
    }));
  }

  /** Show a site at an epoch (its position among those shown). */
  function show({ site = state.site, epoch = state.epoch, focus = false }) {
    Object.assign(state, { site, epoch });
    find("epoch").value = String(epoch);
    find("epoch").setAttribute("aria-valuetext", `epoch ${data.shown[epoch]}`);
    find("epoch-name").textContent = data.shown[epoch];
    drawIndex();
    drawAttention();
    drawStd();
    if (site !== state.drawn) {
      const { name, verdict, note } = data.sites[site];
      find("site-title").textContent = `Site ${name}`;
      find("site-verdict").textContent = verdict;
      find("site-shown").textContent = note;
      find("site-choice").value = String(site);
      for (const button of find("overview").querySelectorAll("button.site")) {
        button.setAttribute("aria-current", String(Number(button.dataset.site) === site));
      }
      drawDiff();
      state.drawn = site;
    }
    if (focus) find("site-title").focus();
  }

  /** The shown epoch that is nearest to one that was captured. */
  function nearest(epoch) {
    const distances = data.shown.map((shown) => Math.abs(shown - epoch));
    return distances.indexOf(Math.min(...distances));
  }

  // ---- trainings ----------------------------------------------------------------------------------------------------

  function drawCurves(chart, quantity, label) {
    const splits = { train: "dash", val: "dot", test: "solid" };
    const tones = ["first", "second", "third", "fourth", "fifth", "sixth"];
    return draw(`${chart}-chart`, (colour) => ({
      data: data.curves.flatMap((run, i) =>
        Object.entries(splits)
          .filter(([split]) => run[`${split}_${quantity}`]?.some((value) => value !== null))
          .map(([split, dash]) => ({
            type: "scatter",
            mode: run.epoch.length > 1 ? "lines" : "markers",
            name: plain(data.curves.length > 1 ? `${run.name} ${split}` : split),
            x: run.epoch,
            y: run[`${split}_${quantity}`],
            line: { dash, width: 2, color: colour(tones[i % tones.length]) },
            hovertemplate: label.endsWith("(%)") ? "%{y:.4g} %" : "%{y:.4g}",
          })),
      ),
      layout: {
        xaxis: axis("epoch"),
        yaxis: axis(label),
        hovermode: "x unified",
        showlegend: true,
        legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 },
        margin: { l: 55, r: 12, t: 40, b: 45 },
        hoverlabel: { bgcolor: colour("panel"), font: { color: colour("text") } },
        shapes: [...new Set(data.curves.flatMap((run) => run.drops))].map((x) => ({
          type: "line",
          x0: x,
          x1: x,
          yref: "paper",
          y0: 0,
          y1: 1,
          line: { color: colour("quiet"), width: 1, dash: "dot" },
        })),
      },
      alt: `${quantity} over the epochs of ${data.curves.length === 1 ? "the training" : `${data.curves.length} trainings`}.`,
    }));
  }

  // ---- structure search ---------------------------------------------------------------------------------------------

  function drawSearch() {
    const { blocks, operations, epochs, weights, chosen, parts } = data.search;
    const tones = ["quiet", "first", "second", "third", "fourth"];
    const chart = find("search-chart");
    const columns = Math.min(chart.clientWidth < 700 ? 2 : 4, blocks.length);
    const rows = Math.ceil(blocks.length / columns);
    chart.style.height = `${90 + 150 * rows}px`;
    const [gap, titles] = [0.08, 0.12];
    // The place of a panel: its axes have the numbers 1, 2 …, of which 1 is not written.
    const panel = (i) => {
      const [row, column] = [Math.floor(i / columns), i % columns];
      const x = [column * (1 + gap), column * (1 + gap) + 1].map((end) => end / (columns + (columns - 1) * gap));
      const y = [1 - (row + 1 - titles) / rows, 1 - (row + titles) / rows];
      return { x, y, number: i ? String(i + 1) : "" };
    };
    return draw("search-chart", (colour) => ({
      data: blocks.flatMap((_, i) =>
        operations.map((name, j) => ({
          type: "scatter",
          mode: "lines",
          name,
          legendgroup: name,
          showlegend: i === 0,
          x: epochs,
          y: weights[i][j],
          xaxis: `x${panel(i).number}`,
          yaxis: `y${panel(i).number}`,
          line: { color: colour(tones[j]), width: parts[i].includes(j) ? 3.5 : 1.5, dash: j === 2 || j === 4 ? "dash" : "solid" },
          hovertemplate: "%{y:.4f} at epoch %{x}",
        })),
      ),
      layout: {
        ...Object.fromEntries(
          blocks.flatMap((_, i) => {
            const { x, y, number } = panel(i);
            const below = i + columns >= blocks.length;
            return [
              [`xaxis${number}`, { domain: x, anchor: `y${number}`, showticklabels: below, nticks: 5 }],
              [`yaxis${number}`, { domain: y, anchor: `x${number}`, range: [0, 1], nticks: 3, showticklabels: i % columns === 0 }],
            ];
          }),
        ),
        annotations: blocks.map((block, i) => ({
          text: `${plain(block)}: ${chosen[i]}`,
          x: panel(i).x[0],
          y: panel(i).y[1],
          xref: "paper",
          yref: "paper",
          xanchor: "left",
          yanchor: "bottom",
          showarrow: false,
        })),
        showlegend: true,
        legend: { orientation: "h", y: 1.04, yanchor: "bottom", x: 0 },
        margin: { l: 45, r: 12, t: 45, b: 30 },
        hoverlabel: { bgcolor: colour("panel"), font: { color: colour("text") } },
      },
      alt: `Weights of ${blocks.length} blocks over the epochs of a structure search.`,
    }));
  }

  // ---- folding ------------------------------------------------------------------------------------------------------

  function drawFrontier() {
    const { sites, site, accuracy, uncertainty, error, relative_speed: speed } = data.frontier;
    return draw("frontier-chart", (colour) => ({
      data: [
        {
          type: "scatter",
          mode: "lines+markers+text",
          x: speed,
          y: accuracy,
          text: sites.map(String),
          textposition: "top center",
          customdata: sites.map((_, i) => [
            site[i] ? `${plain(site[i])} folded last` : "with attention",
            100 * error[i],
            uncertainty[i],
          ]),
          error_y: { array: uncertainty, color: colour("quiet"), thickness: 1, width: 0 },
          line: { color: colour("quiet"), width: 1 },
          marker: { color: colour("first"), size: 8 },
          hovertemplate: "%{customdata[0]}<br>%{y:.2f} ± %{customdata[2]:.2f} % at %{x:.3f} ×<br>logits off by %{customdata[1]:.1f} %<extra></extra>",
        },
      ],
      layout: {
        xaxis: axis("speed, relative to the network with attention"),
        yaxis: axis("accuracy (%)"),
        margin: { l: 55, r: 12, t: 30, b: 45 },
      },
      alt: `Accuracy against speed, with 0 to ${sites.at(-1)} ${sites.at(-1) === 1 ? "site" : "sites"} folded.`,
    }));
  }

  // ---- everything ---------------------------------------------------------------------------------------------------

  if (data.sites.length) {
    show({});
    find("index-chart").on("plotly_click", ({ points: [{ pointIndex }] }) => {
      const [site, column] = pointIndex;
      show({ site, epoch: nearest(data.epochs[column]), focus: true });
    });
    find("site-choice").addEventListener("change", (event) => show({ site: Number(event.target.value) }));
    find("epoch").addEventListener("input", (event) => show({ epoch: Number(event.target.value) }));
    find("overview").querySelector("table").addEventListener("click", (event) => {
      const button = event.target.closest("button.site");
      if (button) show({ site: Number(button.dataset.site), focus: true });
    });
  }
  if (data.frontier) drawFrontier();
  if (data.search) drawSearch();
  data.gradcam.forEach((layer, i) => {
    const maps = ["mean", "std"].map((name) => layer[name] && decode(layer[name])(0));
    drawMaps(
      `gradcam-chart-${i}`,
      `Average Grad-CAM of ${layer.layer}`,
      "px",
      layer.mean.shape.slice(1),
      ...maps,
      layer.group,
    );
  });
  if (data.curves.length) {
    // Runs of one task, mostly; of several, what the first is scored by.
    const { score, axes } = data.curves[0];
    drawCurves("loss", "loss", axes.loss);
    if (score !== "loss") drawCurves("score", score, axes[score]);
  }
  for (const id of charts.keys()) find(id).addEventListener("keydown", keys);
  return {
    redraw: () => charts.forEach((figure, id) => draw(id, figure)),
    /** Paper is narrower than the window, and Plotly's pictures don't shrink by themselves. */
    resize: (width) =>
      charts.forEach((_, id) => Plotly.relayout(find(id), width ? { width } : { width: null, autosize: true })),
  };
}

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const networks = data.networks ?? [data];
  const started = networks.map(() => null);
  let current = 0;

  /** Show a network; it is drawn when it is seen for the first time, as nothing can be drawn where nothing is seen. */
  function choose(number) {
    current = number;
    if (data.networks) networks.forEach((_, i) => (document.getElementById(`n${i}-network`).hidden = i !== number));
    if (started[number]) started[number].resize(null);
    else started[number] = start(networks[number], data.networks ? `n${number}-` : "");
  }

  choose(0);
  document
    .getElementById("network-choice")
    ?.addEventListener("change", (event) => choose(Number(event.target.value)));
  matchMedia("screen and (prefers-color-scheme: dark)").addEventListener("change", () =>
    started.forEach((network) => network?.redraw()),
  );
  addEventListener("beforeprint", () => started[current].resize(660));
  addEventListener("afterprint", () => started[current].resize(null));
})();
