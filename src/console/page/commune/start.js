// The start of the commune's page: settings, signing in, then its parts.

import { makeContext } from "/page/core/context.js";
import { h } from "/page/core/dom.js";
import { readFragment } from "/page/core/fragment.js";
import { setVariant } from "/page/core/text.js";
import { runPage } from "/page/commune/page.js";
import { followSettings, switchLang } from "/page/frame/settings.js";
import { enter } from "/page/sign/entrance.js";
import { toastPlace } from "/page/widget/toasts.js";

setVariant("commune.");
const ctx = makeContext();
followSettings(ctx.store);

const shell = h("div", { id: "shell" });
const lockPlace = h("main", { id: "lock", "data-testid": "lock-screen" });
document.body.append(shell, lockPlace, toastPlace());

enter(ctx, {
  place: lockPlace,
  fragment: readFragment(location.hash),
  switchLang: () => switchLang(ctx.store),
  done: (signer) => runPage(ctx, { shell, lockPlace, signer }),
});
