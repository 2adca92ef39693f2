// The start of the page: settings, signing in, then the frame and its parts.

import { makeContext } from "/page/core/context.js";
import { h } from "/page/core/dom.js";
import { readFragment } from "/page/core/fragment.js";
import { Shortcuts } from "/page/core/shortcuts.js";
import { run } from "/page/frame/run.js";
import { followSettings, switchLang } from "/page/frame/settings.js";
import { enter } from "/page/sign/entrance.js";
import { toastPlace } from "/page/widget/toasts.js";

const ctx = { ...makeContext(), shortcuts: new Shortcuts() };
followSettings(ctx.store);
const fragment = readFragment(location.hash);

const shell = h("div", { id: "shell" });
const lockPlace = h("main", { id: "lock", "data-testid": "lock-screen" });
document.body.append(shell, lockPlace, toastPlace());

enter(ctx, {
  place: lockPlace,
  fragment,
  switchLang: () => switchLang(ctx.store),
  done: (signer) => run(ctx, { shell, lockPlace, fragment, signer }),
});
