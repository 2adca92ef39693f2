//! What the page decides about pictures, in the browser that runs it: messages and their
//! bounds, where tiles go, stills that say what they show, the list of bookmarks.

use serde_json::json;

use super::room::Room;
use crate::browser::Kind;
use crate::world::Plan;

/// `/page/watch/NAME.js` as `module` in a function's body.
fn with(name: &str, body: &str) -> String {
    format!("import(`${{location.origin}}/page/watch/{name}.js`).then((module) => {{ {body} }})")
}

#[tokio::test]
async fn pictures_are_decided_about_as_said() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    // As `receiver::api::live` writes it.
    let units = "const golden = Uint8Array.from([0, 0, 0, 7, 13, 0, 0, 0, 0, 0, 1, 0x5f, 0x90,
        255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 1, 0x65]).buffer;
      const { data, ...unit } = module.readUnit(golden);
      const messages = ['x', '[]', 'null', '{\"type\":\"constructor\"}', '{\"type\":\"end\",\"reason\":\"<b>\"}',
        JSON.stringify({ type: 'configuration', tag: 1, camera: 'a/b', codec: 'avc1', description: '', width: 1e9, height: 1 }),
        JSON.stringify({ type: 'ready', more: 'x'.repeat(300_000) })];
      return [unit, [...data], module.readUnit(golden.slice(0, 21)), messages.map(module.readMessage),
        module.readMessage('{\"type\":\"end\",\"tag\":1,\"camera\":\"a/b\",\"reason\":\"grant_cut\"}').reason];";
    let unit = json!({ "tag": 7, "key": true, "lossBefore": true, "kept": true, "timestamp": 1_000_000, "captured": -0.001 });
    assert_eq!(
        room.browser.evaluate(&with("units", units)).await,
        json!([
            unit,
            [0, 0, 0, 1, 0x65],
            null,
            [null, null, null, null, null, null, null],
            "grant_cut"
        ])
    );
    // Inside the room, none upon another, whatever the number, the shape and the focus.
    let layout = "const bad = [];
      for (const [width, height] of [[1920, 1080], [700, 900], [400, 300]]) for (let n = 1; n <= 16; n += 1) for (const focused of [-1, 0, n - 1]) {
        const rects = module.layout(n, focused, width, height);
        const within = rects.every((r) => r.left >= 0 && r.top >= 0 && r.width > 0 && r.height > 0 && r.left + r.width <= width + 1 && r.top + r.height <= height + 1);
        const over = rects.some((a, i) => rects.some((b, j) => i < j && a.left + a.width > b.left + 1 && b.left + b.width > a.left + 1 && a.top + a.height > b.top + 1 && b.top + b.height > a.top + 1));
        const largest = Math.max(...rects.map((r) => r.width * r.height));
        const isLarge = focused < 0 || rects[focused].width * rects[focused].height === largest;
        if (rects.length !== n || !within || over || !isLarge) bad.push([n, focused, width, height]);
      }
      return bad;";
    assert_eq!(
        room.browser.evaluate(&with("layout", layout)).await,
        json!([])
    );
    // Any reader finds the picture and the text: the browser itself decodes it.
    let png = "const canvas = new OffscreenCanvas(3, 2);
      canvas.getContext('2d').fillRect(0, 0, 1, 1);
      return canvas.convertToBlob({ type: 'image/png' }).then((blob) => blob.arrayBuffer()).then(async (bytes) => {
        const out = module.withTexts(bytes, { Title: 'Quai é' });
        const { width, height } = await createImageBitmap(new Blob([out], { type: 'image/png' }));
        const text = new TextDecoder('utf-8').decode(out);
        return [module.crc32(new TextEncoder().encode('IEND')), width, height, text.includes('iTXtTitle'), text.includes('Quai é')];
      });";
    assert_eq!(
        room.browser.evaluate(&with("png", png)).await,
        json!([0xae42_6082_u32, 3, 2, true, true])
    );
    let list = "const mark = { commune: 'Berre', camera: 'berre/a', name: '=1+1', from: 0, to: 60000, note: 'a;\"b\"', clockOffset: -0.25, grant: 'g', operator: { name: 'N', number: '1', unit: 'U' } };
      const lines = module.csvOf([mark], { ref: 'R', grounds: 'vol' }, 'fr').split('\\r\\n');
      return [lines[0].charCodeAt(0), lines.length, lines[1].split(';').slice(0, 5), lines[1].includes(';-0.25;R;vol;N;1;U;g;\"a;\"\"b\"\"\"')];";
    assert_eq!(
        room.browser.evaluate(&with("bookmark_list", list)).await,
        json!([
            0xfeff,
            3,
            [
                "Berre",
                "berre/a",
                "'=1+1",
                "1970-01-01T00:00:00.000Z",
                "1970-01-01T00:01:00.000Z"
            ],
            true
        ])
    );
    room.end().await;
}
