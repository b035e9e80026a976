// From looking to doing: which measure is looked at, and the recipe's block weights from what it found.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  /** Below which half of the blocks are; of asim what its users are used to. */
  const usual = ({ measure, blocks }) => {
    const figures = Object.values(blocks).sort((a, b) => a - b);
    return measure === "asim" ? "95" : chilly.figure(figures[figures.length >> 1] ?? 0);
  };

  /** The choice of a measure, and of the ancestor where it looks at one; `changed` is called after another choice. */
  chilly.alikePick = (changed) => {
    const el = chilly.el;
    const measures = chilly.start?.measures || [];
    const select = el("select", { class: "chilly-in", value: chilly.measure().name }, ...measures.map(({ name }) => el("option", { value: name }, name)));
    const ancestor = el("select", { class: "chilly-in", "aria-label": "The model that both descend from" });
    const since = el("label", { class: "chilly-row chilly-note" }, "since", el("span", { class: "chilly-pick" }, ancestor));
    const fill = () => {
      const names = (chilly.start?.models || []).filter(({ architecture }) => !architecture || architecture === chilly.good?.architecture);
      const { ancestor: takes } = chilly.measure();
      const held = chilly.own("alike").ancestor || "";
      const first = takes === "needed" ? "Choose a model" : "nothing";
      ancestor.replaceChildren(el("option", { value: "" }, first), ...names.map(({ name }) => el("option", { value: name }, name)));
      ancestor.value = names.some(({ name }) => name === held) ? held : "";
      since.hidden = !takes;
    };
    const choose = (some) => {
      chilly.own("alike", some);
      fill();
      changed();
      chilly.emit("measure", chilly.measure());
    };
    select.addEventListener("change", () => choose({ measure: select.value }));
    ancestor.addEventListener("change", () => choose({ ancestor: ancestor.value }));
    chilly.on("view", fill);
    fill();
    return el("span", { class: "chilly-row chilly-alike-pick" }, el("label", { class: "chilly-row chilly-note" }, "Measure", el("span", { class: "chilly-pick" }, select)), since);
  };

  /** Two recipe edits with the numbers that were found; blocks may come from a third model too. */
  chilly.alikeActs = () => {
    const el = chilly.el;
    const limit = el("input", { class: "chilly-in chilly-alike-limit", type: "number", min: "0", max: "100", step: "any", "aria-label": "Blocks less alike than, in percent" });
    const donor = el("select", { class: "chilly-in", "aria-label": "Whose blocks come in" });
    const replace = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const weigh = el("button", { class: "chilly-btn chilly-btn-s", type: "button" }, "Weigh each block by its likeness");
    const rest = el("span", { class: "chilly-note" });
    const row = el(
      "div", { class: "chilly-row chilly-alike-acts" },
      el("label", { class: "chilly-row chilly-note" }, "Blocks less alike than", limit, "%, from"), el("span", { class: "chilly-pick" }, donor), replace, weigh, rest,
    );
    const edit = async (doing, said, more = {}) => {
      if (await chilly.edit({ do: doing, step: chilly.good.mixer.step, blocks: chilly.alike.blocks, ...more })) chilly.say(said);
    };
    const from = () => donor.value || chilly.good.mixer.pair[1];
    const say = () => {
      const [a, b] = chilly.good.mixer.pair;
      replace.textContent = `Take those of ${from()}`;
      replace.title = `${from()}'s blocks where ${a} and ${b} are less alike than that, ${a}'s everywhere else`;
    };
    /** B, and what could come in its place: steps above and models of the same kind. */
    const fill = () => {
      if (!chilly.good?.mixer || !chilly.alikeActs.can()) return;
      const { step, pair } = chilly.good.mixer;
      const held = donor.value;
      const fits = ({ architecture }) => !architecture || architecture === chilly.good.architecture;
      const above = chilly.good.steps.slice(0, chilly.good.steps.findIndex(({ name }) => name === step));
      const names = [...above, ...(chilly.start?.models || []).filter(fits)].map(({ name }) => name);
      const others = [...new Set(names)].filter((name) => !pair.includes(name));
      donor.replaceChildren(el("option", { value: "" }, `${pair[1]} (B)`), ...others.map((name) => el("option", { value: name }, name)));
      donor.value = others.includes(held) ? held : "";
      say();
    };
    donor.addEventListener("change", say);
    donor.addEventListener("focus", () => chilly.lookForModels().then((are) => are && fill()));
    replace.addEventListener("click", () => edit("below", `Blocks below ${limit.value} % are those of ${from()}`, { limit: limit.value, ...(donor.value && { donor: donor.value }) }));
    weigh.addEventListener("click", () => edit("likeness", "Each block has its likeness as its weight"));
    limit.addEventListener("change", () => chilly.own("alike", { limits: { ...chilly.own("alike").limits, [chilly.alike.measure]: limit.value } }));
    chilly.on("alike", (report) => {
      if (!report) return;
      limit.value = chilly.own("alike").limits?.[report.measure] ?? usual(report);
      const [a, b] = chilly.good.mixer.pair;
      fill();
      const without = Object.keys(chilly.good.mixer.values || {}).filter((lane) => !(lane in report.blocks));
      rest.textContent = without.length ? `${without.length === 1 ? "1 block has" : `${without.length} blocks have`} no figure: either button makes them ${a}'s.` : "";
      rest.title = without.join(", ");
      weigh.title = `As much of each of ${b}'s blocks, in %, as both are alike there`;
    });
    chilly.on("view", fill);
    return row;
  };

  /** Whether the open step is one whose blocks can be taken from A or B. */
  chilly.alikeActs.can = () => {
    const { step, parameter } = chilly.good.mixer;
    return parameter === "alpha" && chilly.good.steps.find(({ name }) => name === step)?.method === "weighted_sum";
  };
})();
