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

  /** Two recipe edits with the numbers that were found. */
  chilly.alikeActs = () => {
    const el = chilly.el;
    const limit = el("input", { class: "chilly-in chilly-alike-limit", type: "number", min: "0", max: "100", step: "any", "aria-label": "Blocks less alike than, in percent" });
    const replace = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const weigh = el("button", { class: "chilly-btn chilly-btn-s", type: "button" }, "Weigh each block by its likeness");
    const rest = el("span", { class: "chilly-note" });
    const row = el("div", { class: "chilly-row chilly-alike-acts" }, el("label", { class: "chilly-row chilly-note" }, "Blocks less alike than", limit, "%"), replace, weigh, rest);
    const edit = async (doing, said) => {
      const { blocks } = chilly.alike;
      if (await chilly.edit({ do: doing, step: chilly.good.mixer.step, blocks, ...(doing === "below" ? { limit: limit.value } : {}) })) chilly.say(said);
    };
    replace.addEventListener("click", () => edit("below", `Blocks below ${limit.value} % are those of ${chilly.good.mixer.pair[1]}`));
    weigh.addEventListener("click", () => edit("likeness", "Each block has its likeness as its weight"));
    limit.addEventListener("change", () => chilly.own("alike", { limits: { ...chilly.own("alike").limits, [chilly.alike.measure]: limit.value } }));
    chilly.on("alike", (report) => {
      if (!report) return;
      limit.value = chilly.own("alike").limits?.[report.measure] ?? usual(report);
      const [a, b] = chilly.good.mixer.pair;
      replace.textContent = `Take those of ${b}`;
      replace.title = `${b}'s blocks where both are less alike than that, ${a}'s everywhere else`;
      const without = Object.keys(chilly.good.mixer.values || {}).filter((lane) => !(lane in report.blocks));
      rest.textContent = without.length ? `${without.length === 1 ? "1 block has" : `${without.length} blocks have`} no figure: either button makes them ${a}'s.` : "";
      rest.title = without.join(", ");
      weigh.title = `As much of each of ${b}'s blocks, in %, as both are alike there`;
    });
    return row;
  };

  /** Whether the open step is one whose blocks can be taken from A or B. */
  chilly.alikeActs.can = () => {
    const { step, parameter } = chilly.good.mixer;
    return parameter === "alpha" && chilly.good.steps.find(({ name }) => name === step)?.method === "weighted_sum";
  };
})();
