//! Journals of the past, for what happens when their time is over.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fanal::clock::{Clock, Wall};
use fanal::format::ids::{GrantId, Sha256};
use fanal::format::jws::Signer;
use fanal::format::statement::HEAD_TYPE;
use fanal::journal::entry::Entry;
use fanal::journal::log::{Log, Parts, encode};
use fanal::journal::store::Disk;

const DAY: Duration = Duration::from_secs(86_400);

/// Writes `state/journal` of this owner, of this many months before today, a line each ten days
/// and one of today, so that what is written next begins no month; its certificate and key are in
/// `keys`.
pub fn write(state: &Path, owner: &'static str, keys: &Path, months: u32) -> PathBuf {
    let directory = state.join("journal");
    let days = months * 31;
    let now = Clock::system().now().wall;
    let start = Wall(now.0 - i64::try_from((DAY * days).as_micros()).unwrap());
    let (clock, hand) = Clock::manual(start);
    let read = |end: &str| std::fs::read_to_string(keys.join(format!("{owner}.{end}"))).unwrap();
    let signer = Signer::from_pem(&read("key"), &read("pem")).unwrap();
    let opened = Log::open(Parts {
        store: Box::new(Disk::create(&directory).unwrap()),
        owner: owner.to_owned(),
        clock: clock.clone(),
        random: Box::new(|bytes| getrandom::fill(bytes).map_err(std::io::Error::other)),
        sign: Box::new(move |head| signer.sign(HEAD_TYPE, head)),
    });
    let mut log = opened.unwrap().log;
    let started = Entry::Started {
        by: owner.to_owned(),
        version: "test".to_owned(),
        settings: Sha256::ZERO,
        certificate: "-----BEGIN CERTIFICATE-----\n".to_owned(),
    };
    log.commit(&[encode(&started).unwrap()]).unwrap();
    for _ in 0..days / 10 {
        let grant = GrantId(uuid::Uuid::now_v7());
        log.commit(&[encode(&Entry::Resumed { grant }).unwrap()])
            .unwrap();
        hand.advance(DAY * 10);
    }
    hand.advance(now.since(clock.now().wall));
    log.commit(&[encode(&Entry::Stopped {}).unwrap()]).unwrap();
    directory
}

/// The names of a journal's files, the oldest first.
pub fn months(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = names
        .map(|name| name.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
