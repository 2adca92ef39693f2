#![no_main]

use libfuzzer_sys::fuzz_target;
use fanal::format::note::{Checkpoint, Kind, Note, NoteSigner, VerifierKey};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let _ = text.parse::<VerifierKey>();
    let _ = Checkpoint::parse(text);
    let _ = NoteSigner::from_secret(text);
    let Ok(witness) = NoteSigner::new("w", Kind::Witness, [1; 32]) else {
        return;
    };
    for note in [Note::parse(text).ok(), Note::with_lines("text\n", text)] {
        let _ = note.and_then(|note| Some(witness.verifier().signed(&note)?.time));
    }
});
