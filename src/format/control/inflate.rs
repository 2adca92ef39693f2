//! Messages as nobody honest sends them: for the tests of those who decode them.

use serde_json::Value;

use super::MESSAGE_LIMIT;

/// What a leaf is made of.
pub(crate) const FILLERS: [&str; 4] = ["x", "\u{202e}\u{7}", "é\"\\", "0"];

/// The message with the leaves that `which` names (bit by bit, in turn) made as long as fits
/// into a message; texts and numbers grow, lists are repeated.
pub(crate) fn inflate(message: &Value, which: u32, filler: &str) -> String {
    let chosen = (0..32).filter(|bit| which & (1 << bit) != 0).count().max(1);
    let mut room = MESSAGE_LIMIT / chosen / 8;
    loop {
        let mut inflated = message.clone();
        let mut leaf = 0;
        grow(&mut inflated, &mut leaf, which, (filler, room));
        let text = inflated.to_string();
        if text.len() <= MESSAGE_LIMIT {
            return text;
        }
        room /= 2;
    }
}

fn grow(value: &mut Value, leaf: &mut u32, which: u32, (filler, room): (&str, usize)) {
    let mut is_chosen = || {
        let chosen = which & (1 << (*leaf % 32)) != 0;
        *leaf += 1;
        chosen
    };
    match value {
        Value::String(text) => {
            if is_chosen() {
                *text = filler.repeat(room / filler.len());
            }
        }
        Value::Number(number) => {
            if is_chosen() {
                *number = u64::MAX.into();
            }
        }
        Value::Array(items) => {
            items
                .iter_mut()
                .for_each(|item| grow(item, leaf, which, (filler, room)));
            if which & (1 << (*leaf % 32)) != 0 && !items.is_empty() {
                let length: usize = items.iter().map(|item| item.to_string().len() + 1).sum();
                let times = (room / length).max(1);
                *items = std::iter::repeat_n(items.clone(), times)
                    .flatten()
                    .collect();
            }
            *leaf += 1;
        }
        Value::Object(members) => {
            for (name, member) in members {
                if name != "type" {
                    grow(member, leaf, which, (filler, room));
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}
