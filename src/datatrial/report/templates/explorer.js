"use strict";
// The items that changed between two arms. What is chosen is in the URL's fragment alone: controls write it, and a
// change of it draws. Texts of data and of models become text nodes, never markup.
(() => {
  const SHOWN = 50; // items at a time
  const TITLE = 160; // characters of a question in the list
  const PREFIX = "#explorer?";
  const part = (name) => document.getElementById(`explorer-${name}`);
  const names = ["a", "b", "on", "seed", "group", "subject", "contaminated", "find"];
  const controls = Object.fromEntries(names.map((name) => [name, part(name)]));
  const [panel, filters, ways, count, list, more] =
    ["panel", "filters", "ways", "count", "list", "more"].map(part);
  const blocks = new Map();
  for (const block of document.querySelectorAll("script[data-benchmark]")) blocks.set(block.dataset.benchmark, block);

  let chosen = new URLSearchParams(); // as in the fragment
  let drawn = ""; // what the list was made for
  let rows = []; // all that could be listed
  let view = null; // the benchmark, the arms' runs and how to name things, for the list

  const element = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children.flat());
    return made;
  };
  const FOREIGN = { dir: "auto" }; // keeps a text's direction from reaching what stands beside it
  const short = (value) => (Math.abs(value) < 100 ? value.toPrecision(3) : value.toFixed()).replace("-", "−");

  // ---- reading ----

  const read = async (block) => {
    const text = atob(block.textContent.trim());
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const data = JSON.parse(await new Response(stream).text());
    let start = 0; // where an item's options begin among all options
    data.starts = (data.sizes ?? []).map((size) => (start += size) - size);
    return data;
  };
  const opened = new Map(); // benchmark → promise of its data
  const open = (name) => {
    if (!opened.has(name)) opened.set(name, read(blocks.get(name)));
    return opened.get(name);
  };

  // ---- comparing ----

  const runsOf = (data, arm, seed) =>
    data.runs.filter((run) => run.arm === arm && (!seed || run.seed === null || String(run.seed) === seed));

  const mean = (numbers) => {
    const known = numbers.filter((number) => number !== null && number !== undefined);
    return known.length ? known.reduce((sum, number) => sum + number, 0) / known.length : null;
  };
  // Of perplexities the geometric mean: a change is a ratio.
  const valueOf = (data, runs, item) => {
    const values = runs.map((run) => run.values[item]);
    if (data.metric !== "perplexity") return mean(values);
    const logs = mean(values.map((value) => (value === null ? null : Math.log(value))));
    return logs === null ? null : Math.exp(logs);
  };

  const compare = (data, sides) => {
    const found = [];
    let both = data.alike[0] + data.alike[1];
    data.items.forEach((name, item) => {
      const [x, y] = sides.map((runs) => valueOf(data, runs, item));
      if (x === null || y === null) return;
      both += 1;
      const size = data.metric === "perplexity" ? Math.abs(Math.log(x / y)) : Math.abs(x - y);
      // Right is right in more than half of the seeds, wrong in less than half.
      const up = data.flips ? x > 0.5 && y < 0.5 : x > y;
      const down = data.flips ? y > 0.5 && x < 0.5 : y > x;
      if (up || down) found.push({ item, name, x, y, size, way: up ? "up" : "down" });
    });
    found.sort((one, other) => other.size - one.size || one.item - other.item);
    return { found, both };
  };

  const texts = (data, item) => [
    data.items[item], data.question?.[item], data.text?.[item], data.target?.[item], ...(data.choices?.[item] ?? []),
    ...data.runs.map((run) => run.responses?.[item]),
  ];

  const filtered = (data, found) => {
    const [group, subject, wanted] = ["group", "subject", "contaminated"].map((name) => chosen.get(name));
    const find = (chosen.get("find") ?? "").toLowerCase();
    const [groupAt, subjectAt] = [data.group_names?.indexOf(group), data.strata?.indexOf(subject)];
    const seen = new Set(["a", "b"].flatMap((side) => data.contaminated[chosen.get(side)] ?? []));
    return found.filter(({ item }) =>
      (!(groupAt >= 0) || data.groups[item].includes(groupAt)) &&
      (!(subjectAt >= 0) || data.stratum[item] === subjectAt) &&
      (!wanted || seen.has(item) === (wanted === "yes")) &&
      (!find || texts(data, item).some((text) => text?.toLowerCase().includes(find))));
  };

  // ---- showing ----

  const words = (data, a, b) => {
    if (data.metric === "perplexity") {
      return { up: `less likely in ${a} than in ${b}`, down: `likelier in ${a} than in ${b}` };
    }
    if (!data.flips) return { up: `${data.metric} higher in ${a}`, down: `${data.metric} higher in ${b}` };
    const right = data.judged ? "better than the data's answer" : "right";
    const wrong = data.judged ? "worse" : "wrong";
    return { up: `${right} in ${a}, ${wrong} in ${b}`, down: `${right} in ${b}, ${wrong} in ${a}` };
  };

  // How an arm did on an item, e.g. "careful: right in 3 of 3 seeds".
  const score = ({ data }, arm, runs, item, value) => {
    if (!data.flips) return element("span", {}, `${arm}: ${short(value)}`);
    const values = runs.map((run) => run.values[item]).filter((of) => of !== null);
    const right = values.filter((of) => of > 0.5).length;
    const [good, bad] = data.judged ? ["better", "worse"] : ["right", "wrong"];
    const said = values.length > 1 ? `${good} in ${right} of ${values.length} seeds` : value > 0.5 ? good : bad;
    return element("span", { class: value > 0.5 ? "good" : "bad" }, `${arm}: ${said}`);
  };

  const label = (data, item) => (data.harmful[item] ? "harmful" : "benign");

  const heading = ({ data }, item) => {
    const whole = (data.question?.[item] ?? data.text?.[item] ?? "").replace(/\s+/g, " ").trim();
    const text = whole.replace(/^Question: /, "").replace(/ Answer:$/, ""); // as most tasks have it, of every question
    return text.length > TITLE ? `${text.slice(0, TITLE)} …` : text || data.items[item];
  };

  const option = ({ data, sides }, item, at) => {
    const right = data.right?.[item]?.includes(at);
    const cells = sides.map((runs) => {
      const likelihood = mean(runs.map((run) => run.likelihoods?.[data.starts[item] + at]));
      const picked = runs.filter((run) => run.chosen?.[item] === at).length;
      const mark = picked ? (runs.length > 1 ? `chosen in ${picked} of ${runs.length}` : "chosen") : "";
      const number = likelihood === null ? "–" : (likelihood / 100).toFixed(2).replace("-", "−");
      return element("td", { class: "num" }, number, element("small", {}, mark));
    });
    const name = element("span", FOREIGN, data.choices?.[item]?.[at] ?? `option ${at + 1}`);
    const tick = right ? element("small", { class: "good" }, "✓ right answer") : [];
    return element("tr", { class: right ? "answer" : "" }, element("th", { scope: "row" }, name, tick), cells);
  };

  const options = (shown, item) => {
    const { data, arms, sides } = shown;
    const per = { acc_norm: "character", acc_bytes: "byte" }[data.metric.split(",")[0]];
    const unit = `log-likelihood, nats${per ? `; the highest per ${per} is chosen` : ""}`;
    const heads = arms.map((arm, side) => {
      const seeds = sides[side].length;
      return element("th", { scope: "col" }, arm, seeds > 1 ? element("small", {}, `mean of ${seeds} seeds`) : []);
    });
    const first = element("th", { scope: "col" }, "option", element("small", {}, unit));
    const lines = Array.from({ length: data.sizes[item] }, (_, at) => option(shown, item, at));
    const head = element("thead", {}, element("tr", {}, first, heads));
    return element("table", { class: "compact" }, head, element("tbody", {}, lines));
  };

  const responses = ({ arms, sides }, item) =>
    sides.flatMap((runs, side) =>
      runs.filter((run) => typeof run.responses?.[item] === "string").flatMap((run) => {
        const who = run.seed === null ? arms[side] : `${arms[side]}, seed ${run.seed}`;
        return [element("h4", {}, `${who} answered`), element("pre", FOREIGN, run.responses[item])];
      }));

  const perplexities = ({ arms }, { x, y }) =>
    element("p", {}, `Perplexity: ${arms[0]} ${short(x)}, ${arms[1]} ${short(y)}, a factor of ${short(x / y)}.`);

  const body = (shown, row) => {
    const { data } = shown;
    const { item, name } = row;
    const about = [name, data.strata?.[data.stratum[item]]];
    about.push(...(data.groups?.[item] ?? []).map((at) => data.group_names[at]));
    if (data.harmful) about.push(`${label(data, item)}, toxicity ${data.toxicity[item]}`);
    const seen = Object.keys(data.contaminated).filter((arm) => data.contaminated[arm].includes(item));
    if (seen.length) about.push(`in the training data of ${seen.join(", ")}`);
    const made = element("div", { class: "item" });
    made.append(element("p", { class: "small muted" }, about.filter(Boolean).join(" · ")));
    const text = data.question?.[item] ?? data.text?.[item];
    if (text) made.append(element("div", { class: "quote", ...FOREIGN }, text));
    if (data.sizes?.[item]) made.append(options(shown, item));
    else if (data.metric === "perplexity") made.append(perplexities(shown, row));
    else if (data.target?.[item]) {
      made.append(element("h4", {}, data.judged ? "The data's own answer" : "The right answer"));
      made.append(element("pre", FOREIGN, data.target[item]));
    }
    made.append(...responses(shown, item));
    made.append(element("p", { class: "small" }, element("a", { href: address({ item: name }) }, "Link to this item")));
    return made;
  };

  const listed = (shown, row) => {
    const { data, arms, sides } = shown;
    const said = [row.x, row.y].map((value, side) => score(shown, arms[side], sides[side], row.item, value));
    if (data.harmful) said.unshift(element("span", {}, label(data, row.item)));
    const summary = element("summary", {}, element("span", FOREIGN, heading(shown, row.item)), element("small", {}, said));
    const details = element("details", {}, summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(body(shown, row));
      if (details.open) write({ item: row.name }, true);
      else if (chosen.get("item") === row.name) write({ item: "" }, true);
    });
    return element("li", {}, details);
  };

  const grow = (upTo) => {
    const start = list.childElementCount;
    list.append(...rows.slice(start, upTo).map((row) => listed(view, row)));
    more.hidden = list.childElementCount >= rows.length;
    const { data, both } = view;
    const noun = data.flips ? "items that changed" : "items, those that changed most first";
    count.textContent = `${list.childElementCount} of ${rows.length} ${noun}; both arms have results on ${both}.`;
    if (data.left_out) {
      const [here, all] = [data.items.length, data.items.length + data.left_out];
      count.textContent += ` The page has room for ${here} of ${all} items that not all runs answered alike, evenly spread.`;
    }
  };

  const openItem = (name) => {
    const at = rows.findIndex((row) => row.name === name);
    if (at < 0) {
      if (name) count.textContent += ` ${name} is not among them.`;
      return;
    }
    if (at >= list.childElementCount) grow(Math.ceil((at + 1) / SHOWN) * SHOWN);
    const details = list.children[at].firstElementChild;
    if (details.open) return; // the reader opened it: no need to go there
    details.open = true;
    details.scrollIntoView();
  };

  const fill = (select, label, options, value) => {
    const known = options ?? [];
    const made = known.map((name) => element("option", { value: name }, name));
    select.replaceChildren(element("option", { value: "" }, label), ...made);
    select.value = known.includes(value) ? value : "";
    select.parentElement.hidden = !known.length;
  };

  const showFilters = (data) => {
    fill(controls.group, "all groups", data.group_names, chosen.get("group"));
    fill(controls.subject, "all subjects", data.strata, chosen.get("subject"));
    controls.contaminated.parentElement.hidden = !Object.keys(data.contaminated).length;
    filters.hidden = false;
  };

  const showWays = (data, arms, found) => {
    const said = { "": "both ways", ...words(data, ...arms) };
    ways.replaceChildren(...Object.entries(said).map(([way, text]) => {
      const n = found.filter((row) => !way || row.way === way).length;
      const pressed = String((chosen.get("way") ?? "") === way);
      const button = element("button", { type: "button", "aria-pressed": pressed }, `${text}: ${n}`);
      button.addEventListener("click", () => write({ way, item: "" }));
      return button;
    }));
    ways.hidden = false;
  };

  const nothing = (why) => {
    [filters.hidden, ways.hidden, more.hidden, rows, drawn] = [true, true, true, [], ""];
    list.replaceChildren();
    count.textContent = why;
  };

  const draw = async () => {
    const [a, b, on, seed] = ["a", "b", "on", "seed"].map((name) => chosen.get(name) ?? "");
    if (!blocks.has(on)) return nothing("Choose a benchmark.");
    if (a === b) return nothing("Choose two different arms.");
    const asked = chosen;
    let data;
    try {
      data = await open(on);
    } catch (error) {
      return nothing(`The items could not be read: ${error.message}. This needs a browser with DecompressionStream.`);
    }
    if (asked !== chosen) return undefined; // something else was chosen in the meantime
    const sides = [a, b].map((arm) => runsOf(data, arm, seed));
    const without = [a, b].filter((_, at) => !sides[at].length);
    if (without.length) return nothing(`No results on ${on}${seed && ` with seed ${seed}`}: ${without.join(", ")}.`);
    const made = names.concat("way").map((name) => chosen.get(name) ?? "").join("\n");
    if (made !== drawn) {
      const { found, both } = compare(data, sides);
      const wanted = filtered(data, found);
      const focus = [...ways.children].indexOf(document.activeElement);
      view = { data, arms: [a, b], sides, both };
      rows = wanted.filter((row) => !chosen.get("way") || row.way === chosen.get("way"));
      drawn = made;
      showFilters(data);
      showWays(data, [a, b], wanted);
      if (focus >= 0) ways.children[focus].focus();
      list.replaceChildren();
      grow(SHOWN);
    }
    return openItem(chosen.get("item") ?? "");
  };

  // ---- what is chosen ----

  const address = (changes) => {
    const next = new URLSearchParams(chosen);
    for (const [name, value] of Object.entries(changes)) {
      if (value) next.set(name, value);
      else next.delete(name);
    }
    return PREFIX + next;
  };
  // Small changes replace the entry in the browser's history.
  const write = (changes, small = false) => {
    const next = address(changes);
    if (next === location.hash) return;
    if (small) location.replace(next);
    else location.hash = next;
  };
  const restore = () => {
    if (!location.hash.startsWith(PREFIX)) return;
    chosen = new URLSearchParams(location.hash.slice(PREFIX.length));
    for (const name of ["a", "b"]) {
      const known = [...controls[name].options].some(({ value }) => value === chosen.get(name));
      if (!known) chosen.set(name, controls[name].value);
    }
    for (const name of ["a", "b", "on", "seed", "contaminated"]) controls[name].value = chosen.get(name) ?? "";
    if (document.activeElement !== controls.find) controls.find.value = chosen.get("find") ?? "";
    draw();
  };

  // What may not fit another benchmark.
  const NARROWER = { group: "", subject: "", contaminated: "", find: "", way: "", item: "" };
  for (const [name, control] of Object.entries(controls)) {
    if (name === "find") continue;
    const reset = name === "on" ? NARROWER : { item: "" };
    control.addEventListener("change", () => write({ ...reset, [name]: control.value }));
  }
  let typing = 0;
  controls.find.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => write({ find: controls.find.value, item: "" }, true), 250);
  });
  more.addEventListener("click", () => grow(list.childElementCount + SHOWN));
  addEventListener("hashchange", restore);

  panel.hidden = false;
  for (const name of ["a", "b"]) chosen.set(name, controls[name].value);
  if (location.hash.startsWith(PREFIX)) {
    document.getElementById("explorer").scrollIntoView();
    restore();
  } else {
    draw();
  }
})();
