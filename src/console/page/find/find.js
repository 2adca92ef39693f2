// The left of the page: what is typed, what was found, the map, saved sets.

import { h } from "/page/core/dom.js";
import { lang, t } from "/page/core/text.js";
import { positionText, readPosition } from "/page/find/coordinates.js";
import { arrow, direction, distance, distanceText, isInside } from "/page/find/geometry.js";
import { CameraMap } from "/page/find/map.js";
import { isUsable } from "/page/incident/rules.js";
import { loadSelections, readSelections, saveSelections } from "/page/find/selections.js";

/** Pause after a key before it is looked up, in ms. */
const PAUSE = 80;
/** Results shown; the rest is told by number. */
const MOST = 200;
/** Nearest cameras of a place. */
const NEAREST = 12;
const PLACES = 5;

/** Mounts the finder into `element`. */
export function mountFind(element, ctx) {
  const finder = new Finder(element, ctx);
  ctx.actions.lookAt = (where) => finder.lookAt(where);
  ctx.shortcuts.on("/", "find.key.search", () => finder.focus());
  ctx.shortcuts.on("v", "find.key.neighbours", () => {
    const { store } = ctx;
    const key =
      document.activeElement?.closest?.(".tile")?.dataset.camera ??
      store.get("focused") ??
      store.get("incidents").get(store.get("incident"))?.cameras.at(-1);
    if (key) finder.lookAt({ neighboursOf: key });
  });
}

class Finder {
  #ctx;
  /** Number of the newest look-up: answers to older ones are left. */
  #asked = 0;
  #timer = null;
  /** What is found is not yet that of what is typed; what Enter then does. */
  #pending = false;
  #enter = null;
  /** What the list is about: `{kind: "all"|"query"|"near"|"neighbours"|"shape", …}`. */
  #about = { kind: "all" };
  #results = [];
  #more = 0;
  #marked = new Set();
  #selections = loadSelections();

  constructor(element, ctx) {
    this.#ctx = ctx;
    const { store } = ctx;
    this.input = h("input", {
      type: "search",
      "data-testid": "search",
      "aria-controls": "find-results",
      autocomplete: "off",
      spellcheck: "false",
      maxlength: "128",
      on: { input: () => this.#typed(), keydown: (event) => this.#key(event) },
    });
    this.about = h("p", { class: "find-about small quiet" });
    this.back = h("button", { class: "plain small", hidden: true, on: { click: () => this.#clear() } });
    this.list = h("ul", { id: "find-results", class: "results" });
    this.more = h("p", { class: "quiet small" });
    this.askButton = h("button", { class: "primary", "data-testid": "ask", on: { click: () => this.#askMarked() } });
    this.saveButton = h("button", { on: { click: () => this.#save() } });
    this.foot = h("div", { class: "find-foot row" }, this.askButton, this.saveButton);
    this.sets = h("ul", { class: "sets row" });
    this.map = new CameraMap(ctx, {
      pick: (key, event) => (event.shiftKey ? this.#toggle(key) : this.#choose(key)),
      place: (position) => this.lookAt({ at: position }),
      shape: (shape) => this.#inShape(shape),
    });
    element.classList.add("find");
    element.append(
      h(
        "div",
        { class: "find-top stack" },
        this.input,
        this.sets,
        h("div", { class: "row" }, this.about, h("span", { class: "grow" }), this.back),
      ),
      h("div", { class: "find-list" }, this.list, this.more),
      this.foot,
      this.map.element,
    );
    store.watch(["lang"], () => this.#words());
    store.watch(["cameras", "communes", "incidents", "incident", "online", "lang", "grants"], () => this.#show());
    store.watch(["online"], () => {
      if (store.get("online") === "online") this.#loadAll();
    });
    store.watch(["incident"], () => this.#incidentChanged());
    document.addEventListener("keydown", (event) => {
      if (!event.altKey || event.ctrlKey || !/^[1-9]$/.test(event.key)) return;
      const set = this.#selections[Number(event.key) - 1];
      if (set === undefined || document.querySelector("dialog[open]") !== null) return;
      event.preventDefault();
      this.#askSet(set);
    });
  }

  focus() {
    this.#ctx.actions.showPanel?.("find");
    this.input.focus();
    this.input.select();
  }

  /** All cameras, for the map and the names. */
  async #loadAll() {
    const { api, store } = this.#ctx;
    try {
      this.#keep(await api.get("cameras?limit=10000"));
      if (this.#about.kind === "all") this.#find();
    } catch {
      // Its next change of state asks again.
    }
  }

  #keep(found) {
    const cameras = this.#ctx.store.get("cameras");
    const kept = found.map((camera) => ({ ...camera, key: `${camera.commune}/${camera.camera}` }));
    for (const { distance: _, direction: __, ...camera } of kept) cameras.set(camera.key, camera);
    this.#ctx.store.touch("cameras");
    return kept;
  }

  #incidentChanged() {
    const { store } = this.#ctx;
    const at = store.get("incidents").get(store.get("incident"))?.at ?? null;
    this.#marked.clear();
    if (at !== null) this.lookAt({ at });
    else if (this.input.value === "") this.#clear();
  }

  /** Shows what is at a place, beside a camera, or what is called so. */
  lookAt({ q, at, neighboursOf }) {
    if (q !== undefined) {
      this.input.value = q;
      this.#typed();
    } else if (at) {
      this.map.goTo(at);
      this.#about = { kind: "near", at };
      this.#find();
    } else if (neighboursOf) {
      this.#ctx.actions.showPanel?.("find");
      this.#about = { kind: "neighbours", of: neighboursOf };
      this.#find().then(() => {
        this.#show();
        this.list.querySelector("button")?.focus();
      });
    }
  }

  #clear() {
    clearTimeout(this.#timer);
    this.#enter = null;
    this.input.value = "";
    this.map.place = null;
    this.map.shape = null;
    this.map.redraw();
    const { store } = this.#ctx;
    const at = store.get("incidents").get(store.get("incident"))?.at ?? null;
    this.#about = at === null ? { kind: "all" } : { kind: "near", at };
    this.#find();
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#pending = true;
    this.#enter = null;
    const text = this.input.value.trim();
    this.#timer = setTimeout(() => {
      if (text === "") return this.#clear();
      const at = readPosition(text);
      if (at !== null) return this.lookAt({ at });
      this.#about = { kind: "query", text };
      this.#find();
    }, PAUSE);
  }

  async #find() {
    this.#asked += 1;
    const asked = this.#asked;
    const about = this.#about;
    try {
      const [cameras, places] = await Promise.all([this.#cameras(about), this.#places(about)]);
      if (asked !== this.#asked) return;
      this.#results = [...places.map((place) => ({ place })), ...cameras.slice(0, MOST).map((camera) => ({ camera }))];
      this.#more = Math.max(0, cameras.length - MOST);
      this.problem = null;
    } catch (error) {
      if (asked !== this.#asked) return;
      this.#results = [];
      this.#more = 0;
      this.problem = error;
    }
    this.list.dataset.query = about.kind === "query" ? about.text : "";
    this.#pending = false;
    this.#show();
    const enter = this.#enter;
    this.#enter = null;
    if (enter !== null) this.#take(enter);
  }

  async #cameras(about) {
    const { api, store } = this.#ctx;
    const all = [...store.get("cameras").values()];
    switch (about.kind) {
      case "query":
        return this.#keep(await api.get(`cameras?q=${encodeURIComponent(about.text)}&limit=1000`));
      case "near": {
        const found = this.#keep(await api.get(`cameras?near=${about.at.join(",")}&limit=${NEAREST}`));
        return found.map((camera) => this.#away(camera, about.at));
      }
      case "neighbours": {
        const from = store.get("cameras").get(about.of)?.position;
        const found = this.#keep(await api.get(`cameras?neighbours=${about.of}`)).map((camera) =>
          from ? this.#away(camera, from) : camera,
        );
        return found.sort((one, other) => (one.away ?? Infinity) - (other.away ?? Infinity));
      }
      case "shape":
        return all.filter(
          ({ position }) =>
            position &&
            (about.shape.polygon
              ? isInside(position, about.shape.polygon)
              : distance(about.shape.circle, position) <= about.shape.radius),
        );
      default:
        return all.sort(
          (one, other) =>
            (one.commune_name ?? "").localeCompare(other.commune_name ?? "") ||
            one.name.localeCompare(other.name, undefined, { numeric: true }),
        );
    }
  }

  #away(camera, from) {
    if (!camera.position) return camera;
    return { ...camera, away: distance(from, camera.position), towards: direction(from, camera.position) };
  }

  async #places(about) {
    const { api, store } = this.#ctx;
    if (about.kind !== "query" || !store.get("console")?.places) return [];
    try {
      return (await api.get(`places?q=${encodeURIComponent(about.text)}&limit=${PLACES}`)).places;
    } catch {
      // Cameras are found without it.
      return [];
    }
  }

  #inShape(shape) {
    this.#about = { kind: "shape", shape };
    this.#find().then(() => {
      for (const { camera } of this.#results)
        if (camera && this.#ctx.actions.mayAsk(camera.key) === null) this.#marked.add(camera.key);
      this.#show();
    });
  }

  #watched() {
    const { store } = this.#ctx;
    return new Set(store.get("incidents").get(store.get("incident"))?.cameras ?? []);
  }

  /** One click: asked for, or in front if it is there. */
  #choose(key) {
    const { actions, store } = this.#ctx;
    if (this.#watched().has(key)) return actions.focus?.(key);
    const obstacle = actions.mayAsk(key);
    if (obstacle !== null) return actions.toast({ level: "warn", key: obstacle.key, params: obstacle.params });
    const follows = this.#about.kind === "neighbours" && store.get("focused") !== null;
    actions.ask([key], {});
    if (follows) actions.focus?.(key);
  }

  #toggle(key) {
    if (!this.#marked.delete(key) && this.#marked.size < MOST) this.#marked.add(key);
    this.#show();
  }

  #askMarked() {
    const keys = [...this.#marked];
    this.#marked.clear();
    this.#askSet({ cameras: keys });
  }

  #askSet({ cameras }) {
    const { actions } = this.#ctx;
    const free = cameras.filter((key) => actions.mayAsk(key) === null);
    const obstacle = cameras.map((key) => actions.mayAsk(key)).find((found) => found !== null);
    if (obstacle) actions.toast({ level: "warn", key: obstacle.key, params: obstacle.params });
    if (free.length > 0) actions.ask(free, {});
    this.#show();
  }

  #save() {
    const keys = this.#marked.size > 0 ? [...this.#marked] : [...this.#watched()];
    if (keys.length === 0) return;
    const { store } = this.#ctx;
    const suggested = store.get("communes").get(keys[0].split("/")[0])?.name ?? "";
    const input = h("input", { maxlength: "60", value: suggested, "aria-label": t("find.sets.name") });
    const file = h("input", {
      type: "file",
      accept: "application/json",
      hidden: true,
      on: {
        change: async () => {
          const text = await file.files[0]?.slice(0, 1 << 20).text();
          this.#selections = saveSelections([...this.#selections, ...readSelections(text)]);
          this.#showSets();
          close();
        },
      },
    });
    const close = this.#openSets(input, keys, file);
    input.select();
  }

  #openSets(input, keys, file) {
    const keep = () => {
      if (input.value.trim() === "") return;
      this.#selections = saveSelections([...this.#selections, { name: input.value.trim(), cameras: keys }]);
      this.#showSets();
      dialog.close();
    };
    const remove = (index) => {
      this.#selections = saveSelections(this.#selections.filter((_, at) => at !== index));
      this.#showSets();
      dialog.close();
    };
    const url = URL.createObjectURL(
      new Blob([JSON.stringify(this.#selections, null, 1)], { type: "application/json" }),
    );
    const dialog = h(
      "dialog",
      { "aria-labelledby": "sets-title" },
      h("h2", { id: "sets-title", text: t("find.sets.title") }),
      h("p", { class: "quiet small", text: t("find.sets.about", { n: keys.length }) }),
      h(
        "form",
        {
          class: "row",
          on: {
            submit: (event) => {
              event.preventDefault();
              keep();
            },
          },
        },
        h("div", { class: "grow" }, input),
        h("button", { class: "primary" }, t("find.sets.save")),
      ),
      h(
        "ul",
        { class: "stack" },
        ...this.#selections.map((set, index) =>
          h(
            "li",
            { class: "row" },
            h("span", { class: "grow", text: `${set.name} (${set.cameras.length})` }),
            h("button", { class: "plain", type: "button", on: { click: () => remove(index) } }, t("find.sets.remove")),
          ),
        ),
      ),
      h(
        "div",
        { class: "row dialog-actions" },
        file,
        h("button", { type: "button", on: { click: () => file.click() } }, t("find.sets.import")),
        h("a", { class: "button", href: url, download: "fanal-selections.json" }, t("find.sets.export")),
        h("button", { type: "button", on: { click: () => dialog.close() } }, t("desk.close")),
      ),
    );
    dialog.addEventListener("close", () => {
      URL.revokeObjectURL(url);
      dialog.remove();
    });
    document.body.append(dialog);
    dialog.showModal();
    return () => dialog.close();
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") {
      this.list.querySelector("button")?.focus();
    } else if (event.key === "Enter") {
      // What is on the screen may still be the answer to other words.
      if (this.#pending) this.#enter = { marks: event.shiftKey };
      else this.#take({ marks: event.shiftKey });
    } else if (event.key === "Escape" && this.input.value !== "") this.#clear();
    else return;
    event.preventDefault();
  }

  /** The first of what was found. */
  #take({ marks }) {
    const [chosen] = this.#results;
    if (chosen?.place) this.#goToPlace(chosen.place);
    else if (chosen?.camera && marks) this.#toggle(chosen.camera.key);
    else if (chosen?.camera && this.#marked.size > 0) this.#askMarked();
    else if (chosen?.camera) this.#choose(chosen.camera.key);
  }

  #goToPlace({ label, position }) {
    this.input.value = label;
    this.lookAt({ at: position });
  }

  #words() {
    this.input.placeholder = t("find.placeholder");
    this.input.setAttribute("aria-label", t("find.placeholder"));
    this.list.setAttribute("aria-label", t("find.results"));
    this.back.textContent = t("find.clear");
    this.saveButton.textContent = t("find.sets.open");
    this.map.words();
    this.#showSets();
  }

  #showSets() {
    this.sets.replaceChildren(
      ...this.#selections.slice(0, 9).map((set, index) =>
        h(
          "li",
          {},
          h(
            "button",
            {
              class: "small",
              title: t("find.sets.hint", { n: set.cameras.length, key: index + 1 }),
              on: { click: () => this.#askSet(set) },
            },
            set.name,
          ),
        ),
      ),
    );
    this.sets.hidden = this.#selections.length === 0;
  }

  #show() {
    const { store, actions } = this.#ctx;
    const watched = this.#watched();
    const rows = this.#results.map(({ camera, place }, index) =>
      place
        ? this.#placeRow(place, index)
        : this.#row(
            store.get("cameras").get(camera.key)
              ? { ...store.get("cameras").get(camera.key), away: camera.away, towards: camera.towards }
              : camera,
            index,
            watched,
          ),
    );
    const focused = this.list.contains(document.activeElement)
      ? [...this.list.querySelectorAll("button")].indexOf(document.activeElement)
      : -1;
    this.list.replaceChildren(...rows);
    if (focused >= 0) this.list.querySelectorAll("button")[focused]?.focus();
    this.more.textContent = this.problem
      ? actions.problemText(this.problem)
      : this.#more > 0
        ? t("find.more", { n: this.#more })
        : this.#results.length === 0
          ? t("find.none")
          : "";
    this.about.textContent = this.#aboutText();
    this.back.hidden = this.#about.kind === "all";
    this.askButton.textContent = t("find.ask", { n: this.#marked.size });
    this.askButton.hidden = this.#marked.size === 0;
    this.foot.hidden = this.#marked.size === 0 && watched.size === 0;
    this.map.marks = [...store.get("cameras").values()]
      .filter(({ position }) => position)
      .map((camera) => {
        const obstacle = actions.mayAsk(camera.key);
        const state = watched.has(camera.key)
          ? "watched"
          : !this.#isUsable(camera)
            ? "unusable"
            : obstacle !== null && obstacle.key !== "desk.ask.no_incident"
              ? "blocked"
              : "usable";
        return {
          ...camera,
          state,
          marked: this.#marked.has(camera.key),
          title: `${camera.name}, ${camera.commune_name}${state === "watched" || obstacle === null ? "" : `: ${t(obstacle.key, obstacle.params)}`}`,
        };
      });
  }

  #aboutText() {
    const { store } = this.#ctx;
    const about = this.#about;
    const n = this.#results.filter(({ camera }) => camera).length + this.#more;
    if (about.kind === "near") return t("find.about.near", { n, at: positionText(about.at) });
    if (about.kind === "neighbours")
      return t("find.about.neighbours", { n, camera: store.get("cameras").get(about.of)?.name ?? about.of });
    return t(`find.about.${about.kind}`, { n });
  }

  #placeRow(place, index) {
    return h(
      "li",
      {},
      h(
        "button",
        {
          class: "result plain",
          tabindex: index === 0 ? "0" : "-1",
          on: { click: () => this.#goToPlace(place), keydown: (event) => this.#rowKey(event, index, null) },
        },
        h("span", { class: "result-mark", "aria-hidden": "true" }, "⌖"),
        h("span", { class: "result-name", text: place.label }),
        h("span", { class: "result-side quiet small", text: t("find.place") }),
      ),
    );
  }

  /** Whether the camera itself could be shown now; communes come and go by events. */
  #isUsable(camera) {
    const { store, clock } = this.#ctx;
    return isUsable(camera, clock.now()) && (store.get("communes").get(camera.commune)?.online ?? camera.online);
  }

  #since(camera) {
    const commune = this.#ctx.store.get("communes").get(camera.commune);
    const since = commune?.online === false ? commune.since : camera.unusable?.since;
    if (!since) return "";
    const at = new Date(since).toLocaleString(lang() === "fr" ? "fr-FR" : "en-GB", {
      dateStyle: "short",
      timeStyle: "short",
    });
    return ` (${t("find.since", { at })})`;
  }

  #row(camera, index, watched) {
    const { actions } = this.#ctx;
    const { key } = camera;
    const obstacle = watched.has(key) ? null : actions.mayAsk(key);
    const isMarked = this.#marked.has(key);
    const side = [camera.away === undefined ? null : `${arrow(camera.towards)} ${distanceText(camera.away, lang())}`]
      .filter(Boolean)
      .join(" ");
    const why =
      obstacle !== null && obstacle.key !== "desk.ask.no_incident"
        ? t(obstacle.key, obstacle.params) + this.#since(camera)
        : "";
    return h(
      "li",
      { class: isMarked ? "marked" : "" },
      h(
        "button",
        {
          class: "result plain",
          tabindex: index === 0 ? "0" : "-1",
          "aria-pressed": isMarked ? "true" : null,
          "data-testid": "camera-result",
          "data-camera": key,
          "data-state": watched.has(key) ? "watched" : why === "" ? "usable" : "blocked",
          on: {
            click: (event) => (event.shiftKey || event.ctrlKey ? this.#toggle(key) : this.#choose(key)),
            keydown: (event) => this.#rowKey(event, index, key),
          },
        },
        h(
          "span",
          { class: "result-mark", "aria-hidden": "true" },
          isMarked ? "☑" : watched.has(key) ? "▶" : why === "" ? "●" : !this.#isUsable(camera) ? "■" : "▲",
        ),
        h(
          "span",
          { class: "result-name" },
          camera.name,
          h("span", { class: "quiet small" }, ` ${camera.commune_name ?? camera.commune}`),
        ),
        h("span", { class: "result-side small", text: watched.has(key) ? t("find.watched") : side }),
        why === "" ? null : h("span", { class: "result-why small", text: why }),
      ),
    );
  }

  #rowKey(event, index, key) {
    const rows = [...this.list.querySelectorAll("button")];
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "ArrowDown") rows[Math.min(index + 1, rows.length - 1)].focus();
    else if (event.key === "ArrowUp") (index === 0 ? this.input : rows[index - 1]).focus();
    else if (event.key === " " && key !== null) this.#toggle(key);
    else if (/^[1-9]$/.test(event.key)) rows[Number(event.key) - 1]?.click();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
