//! The mosaic: pages, order, what is told of uneven pictures, who watches, the wall.

use serde_json::json;

use super::room::{Room, key, tile};
use crate::browser::{Kind, id};
use crate::world::{Plan, until};

/// `/page/watch/NAME.js` as `module` in a function's body.
fn with(name: &str, body: &str) -> String {
    format!("import(`${{location.origin}}/page/watch/{name}.js`).then((module) => {{ {body} }})")
}

/// The cameras of the tiles, in their order.
const ORDER: &str = "[...document.querySelectorAll('[data-testid=tile]')].map((tile) => tile.dataset.camera.split('/')[1])";

#[tokio::test]
async fn what_is_decided_without_a_page() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    let pages = "const keys = Array.from({ length: 20 }, (_, at) => `a/${at}`);
      const pinned = new Set(['a/18']);
      const first = module.pageOf(keys, pinned, 0), second = module.pageOf(keys, pinned, 7);
      return [first.keys.length, first.keys[0], second.page, second.pages, second.keys,
        module.pageOf(keys.slice(0, 3), new Set(['a/2']), 0).keys,
        module.pageWith(keys, pinned, 'a/17'), module.pageWith(keys, pinned, 'a/18'),
        module.moved(['a', 'b', 'c'], 'c', 'a'), module.moved(['a', 'b', 'c'], 'a', 'c'), module.moved(['a'], 'a', 'x')];";
    assert_eq!(
        room.browser.evaluate(&with("pages", pages)).await,
        json!([
            16,
            "a/18",
            1,
            2,
            ["a/18", "a/15", "a/16", "a/17", "a/19"],
            ["a/0", "a/1", "a/2"],
            1,
            0,
            ["c", "a", "b"],
            ["b", "c", "a"],
            ["a"]
        ])
    );
    // 25 pictures a second, of which some are left out on the way: by their times it is 25 still.
    let flow = "const pace = new module.Pace();
      for (let at = 0; at < 200; at += 1) if (at % 10 < 7) pace.take(at * 40_000);
      pace.take(0);
      const told = [Math.round(pace.rate)];
      const run = (received, frames, skipped = 0) => {
        const flow = new module.Flow();
        for (let at = 0; at <= 4_000; at += 250)
          flow.take({ received: received * at / 1000, frames: frames * at / 1000, skipped: skipped * at }, at);
        return flow;
      };
      told.push(run(25, 25).stutter(25, 4_000), run(25, 5).stutter(25, 4_000), run(6, 5).stutter(25, 4_000), run(6, 5, 1).stutter(25, 4_000));
      told.push(run(25, 25).stutter(null, 4_000));
      const held = run(25, 5);
      told.push([held.stutter(25, 4_000), held.stutter(1, 8_900), held.stutter(1, 9_100)].map(Boolean));
      told.push([held.late(true, 0), held.late(false, 4_900), held.late(false, 5_100)]);
      held.forget();
      told.push(held.late(false, 5_200));
      return told;";
    assert_eq!(
        room.browser.evaluate(&with("flow", flow)).await,
        json!([
            25,
            null,
            { "fps": 5, "by": "page" },
            { "fps": 5, "by": "line" },
            { "fps": 5, "by": "page" },
            null,
            [true, true, false],
            [true, true, false],
            false
        ])
    );
    let steps = "const step = (isJoined, state, received) => module.startingStep({ isJoined, entry: { state }, figures: { received } });
      return [step(false, 'live', 1), step(true, 'starting', 0), step(true, 'live', 0), step(true, 'live', 3)];";
    assert_eq!(
        room.browser.evaluate(&with("tile_text", steps)).await,
        json!(["socket", "camera", "key_frame", "decoder"])
    );
    let unwatched = "const look = new module.Unwatched();
      const watched = (key) => key === 'a';
      const told = [look.look(['a', 'b'], watched, 0), look.look(['a', 'b'], watched, 600_000)];
      look.keep(600_000);
      told.push(look.look(['a', 'b'], watched, 700_000), look.look(['a', 'b'], watched, 1_200_000), look.look(['a'], watched, 1_300_000));
      return told;";
    assert_eq!(
        room.browser.evaluate(&with("unwatched", unwatched)).await,
        json!([[], ["b"], [], ["b"], []])
    );
    room.end().await;
}

#[tokio::test]
async fn tiles_are_moved_pinned_and_taken_out_and_pages_turn() {
    let plan = Plan {
        cameras: 18,
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001", "cam-002"]).await else {
        return;
    };
    room.moves("cam-002").await;
    let first = tile("cam-001");
    let focus = format!("document.querySelector({}).focus()", json!(first));
    room.browser.evaluate(&focus).await;
    // Two tiles are side by side, or one above the other: as the window is.
    let above = format!(
        "document.querySelector({}).getBoundingClientRect().left === document.querySelector({}).getBoundingClientRect().left",
        json!(first),
        json!(tile("cam-002"))
    );
    let is_above = room.browser.evaluate(&above).await == true;
    let keys = if is_above {
        "Shift+ArrowDown"
    } else {
        "Shift+ArrowRight"
    };
    room.browser.press(keys).await;
    let moved = format!("JSON.stringify({ORDER}) === '[\"cam-002\",\"cam-001\"]'");
    room.browser.until("the tile moved", &moved).await;
    // The keyboard stays on it, and its picture goes on.
    room.browser.focused(&first).await;
    room.moves("cam-001").await;
    // By the mouse, back.
    let drop = format!(
        "(() => {{
  const data = new DataTransfer();
  data.setData('application/x-fanal-tile', {});
  document.querySelector({}).dispatchEvent(new DragEvent('drop', {{ dataTransfer: data, bubbles: true, cancelable: true }}));
}})()",
        json!(key("cam-001")),
        json!(tile("cam-002"))
    );
    room.browser.evaluate(&drop).await;
    let back = format!("JSON.stringify({ORDER}) === '[\"cam-001\",\"cam-002\"]'");
    room.browser.until("the tile moved back", &back).await;
    // Taken out of the mosaic it is relayed still; closed it is not.
    room.browser.evaluate(&focus).await;
    room.browser.press("Shift+Delete").await;
    room.browser.gone(&first).await;
    let metrics = room.world.receiver_metrics.clone();
    assert_eq!(metrics.grants_active.get(), 2);
    room.ask("cam-001").await;
    room.moves("cam-001").await;
    assert_eq!(
        room.world.entries("gateway", "grant").len(),
        2,
        "shown again, not asked again"
    );
    room.browser.evaluate(&focus).await;
    room.browser.press("Delete").await;
    room.browser.gone(&first).await;
    until("the camera is given back", || {
        metrics.grants_active.get() == 1
    })
    .await;
    for camera in 3..=18 {
        room.ask_here(&format!("cam-{camera:03}")).await;
    }
    // The last one asked for is what one wants to see.
    room.browser.shown(&tile("cam-018")).await;
    room.browser.says(&id("mosaic-page"), "Page 2 sur 2").await;
    room.browser.press("PageUp").await;
    room.browser.gone(&tile("cam-018")).await;
    room.browser.says(&id("mosaic-page"), "Page 1 sur 2").await;
    let current = format!("document.querySelector({}).focus()", json!(tile("cam-002")));
    room.browser.evaluate(&current).await;
    room.browser.press("p").await;
    room.browser.press("PageDown").await;
    room.browser.shown(&tile("cam-018")).await;
    room.browser.shown(&tile("cam-002")).await;
    room.browser.keep_screenshot("second-page").await;
    room.end().await;
}

#[tokio::test]
async fn the_wall_looks_where_it_wants_and_tells_no_password() {
    let Some(mut room) = Room::watching(Kind::Chromium, Plan::default(), &["cam-001"]).await else {
        return;
    };
    room.ask("cam-002").await;
    room.moves("cam-002").await;
    // The wall's own page in a frame of this one: the same code, the same document.
    let wall = "(async () => {
  const url = `${location.origin}/page/watch/`;
  window.open = () => null;
  document.querySelector('[data-testid=wall]').click();
  const { ctx, actions, incident } = window.fanalWall();
  const { Mosaic } = await import(`${url}mosaic.js`);
  const place = document.createElement('main');
  place.id = 'test-wall';
  Object.assign(place.style, { position: 'fixed', inset: '50% 0 0 50%' });
  document.body.append(place);
  window.fanalTestWall = new Mosaic(place, ctx, { isMain: false, actions, incident });
  window.fanalTestWall.toggleFocus([...window.fanalTestWall.tiles.keys()][1]);
  const large = (root) => root.querySelector('.tile.focused')?.dataset.camera ?? null;
  const told = [large(place)?.split('/')[1], large(document.querySelector('#watch'))];
  window.fanalTestWall.end();
  place.remove();
  return told;
})()";
    let told = room.browser.evaluate(wall).await;
    assert_eq!(told, json!(["cam-002", null]));
    room.end().await;
}

#[tokio::test]
async fn who_watches_is_written_over_the_picture_where_the_agreement_says_so() {
    let plan = Plan {
        agreement: "watermark = true\n".to_owned(),
        ..Plan::default()
    };
    let Some(mut room) = Room::watching(Kind::Chromium, plan, &["cam-001"]).await else {
        return;
    };
    room.moves("cam-001").await;
    let mark = format!("{} .tile-mark", tile("cam-001"));
    room.browser.says(&mark, "13-1 · CORG 13").await;
    room.browser.keep_screenshot("watermark").await;
    // Stills have it in their pixels: half of a grey picture is no longer grey.
    let still = "import(`${location.origin}/page/watch/mark.js`).then(({ drawMark }) => {
  const canvas = new OffscreenCanvas(640, 360);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#808080';
  context.fillRect(0, 0, 640, 360);
  drawMark(context, '13-1 · CORG 13', 640, 360);
  const { data } = context.getImageData(0, 0, 640, 360);
  let [lighter, darker] = [0, 0];
  for (let at = 0; at < data.length; at += 4) {
    lighter += data[at] > 140;
    darker += data[at] < 116;
  }
  return [lighter > 2_000, darker > 2_000, lighter + darker < 60_000];
})";
    assert_eq!(
        room.browser.evaluate(still).await,
        json!([true, true, true])
    );
    room.end().await;
}
