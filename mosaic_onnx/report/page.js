"use strict";
// The page's own script: colours that follow the reader's, names that appear when there is room, and the panel of reasons.
(function () {
  const reasons = JSON.parse(document.getElementById("reasons-json").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const LEAST_ROW_PIXELS = 15;

  function models() {
    const found = new Set();
    for (const drawn of Bokeh.documents) for (const root of drawn.roots()) for (const model of root.references()) found.add(model);
    return [...found];
  }

  function paint() {
    const ink = dark.matches ? "#e8eaee" : "#1c1e21";
    const line = dark.matches ? "#343943" : "#d9dce1";
    for (const model of models()) {
      if (model.type.endsWith("Axis")) {
        model.setv({ axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null });
      } else if (model.type === "Grid") {
        model.grid_line_color = line;
      } else if (model.type === "Legend") {
        model.label_text_color = ink;
      } else if (model.type === "GlyphRenderer" && model.glyph.tags.includes("ink")) {
        model.glyph.text_color = { value: ink };
      }
    }
  }

  function line(parent, kind, text) {
    const made = document.createElement(kind);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  function show(layer) {
    const panel = document.getElementById("why");
    panel.replaceChildren();
    const found = reasons[layer];
    if (!found) return void line(panel, "p", "No layer is chosen.");
    line(panel, "h3", found.name);
    line(panel, "p", found.operators + ", " + found.place);
    const states = line(panel, "ul", "");
    for (const [state, cost, change] of found.states) line(states, "li", state + ": " + cost + (change ? "; " + change : ""));
    if (found.transfers.length) {
      line(panel, "p", "Transfers that it causes:");
      const list = line(panel, "ul", "");
      for (const transfer of found.transfers) line(list, "li", transfer);
    }
  }

  function bindGraph() {
    const graph = models().find((model) => model.name === "graph");
    const [boxes, names] = ["layers", "names"].map((name) => graph.renderers.find((one) => one.name === name));
    const chosen = boxes.data_source.selected;
    chosen.properties.indices.change.connect(() => show(chosen.indices[0]));
    const fit = () => {
      const rows = Math.abs(graph.y_range.end - graph.y_range.start);
      names.visible = graph.height / rows >= LEAST_ROW_PIXELS;
    };
    graph.y_range.properties.end.change.connect(fit);
    graph.y_range.properties.start.change.connect(fit);
    fit();
    // With a mouse, dragging moves the graph; a finger scrolls the page until a tool is chosen.
    if (window.matchMedia("(pointer: fine)").matches) {
      for (const tool of graph.toolbar.tools) if (tool.type === "PanTool") tool.active = true;
    }
  }

  function start() {
    if (!window.Bokeh || Bokeh.documents.length === 0) return void requestAnimationFrame(start);
    paint();
    bindGraph();
    dark.addEventListener("change", paint);
    document.documentElement.dataset.drawn = "yes";
  }
  start();
})();
