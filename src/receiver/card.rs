//! The still card of VMS accounts: made once, packetised once a second for all who see it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::clock::{Boot, Clock};
use crate::media::drawn;
use crate::media::packets::Packetised;
use crate::media::source::Sampled;
use crate::media::unit::{AccessUnit, Configuration, UnitFlags};
use crate::rtsp::rtp::{CLOCK, Packetiser};

/// A picture of the card.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) unit: Arc<AccessUnit>,
    pub(super) packets: Arc<Packetised>,
    pub(super) sampled: Sampled,
}

/// The card. Each of its pictures is a key frame, so anybody may begin and stop with any of them.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) configuration: Arc<Configuration>,
    /// Key frames that follow each other must differ.
    pictures: [Bytes; 2],
    clock: Clock,
    since: Boot,
    made: Mutex<Made>,
    shown: watch::Sender<Shown>,
}

#[derive(Debug)]
struct Made {
    packetiser: Packetiser,
    number: usize,
}

impl Card {
    pub(super) fn new(clock: Clock) -> Self {
        let mut random = [0; 10];
        // Without randomness the stream is still good, only guessable.
        let _ = getrandom::fill(&mut random);
        let cells = drawn::card::nothing_live();
        let configuration = Arc::new(drawn::configuration());
        let pictures = [0, 1].map(|number| drawn::key_picture(&cells, number));
        let mut made = Made {
            packetiser: Packetiser::from_random(random),
            number: 0,
        };
        let since = clock.now().boot;
        let first = made.next(&configuration, &pictures, (&clock, since));
        Self {
            configuration,
            pictures,
            clock,
            since,
            made: Mutex::new(made),
            shown: watch::Sender::new(first),
        }
    }

    /// The source of its packets.
    pub(super) fn ssrc(&self) -> u32 {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.packetiser.ssrc()
    }

    /// Its pictures; the newest counts as not seen yet.
    pub(super) fn pictures(&self) -> watch::Receiver<Shown> {
        let mut pictures = self.shown.subscribe();
        pictures.mark_changed();
        pictures
    }

    /// Shows the next picture: called once a second.
    pub(super) fn advance(&self) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let next = made.next(
            &self.configuration,
            &self.pictures,
            (&self.clock, self.since),
        );
        self.shown.send_replace(next);
    }
}

impl Made {
    fn next(
        &mut self,
        configuration: &Configuration,
        pictures: &[Bytes; 2],
        (clock, since): (&Clock, Boot),
    ) -> Shown {
        let now = clock.now();
        let ticks = now.boot.since(since).as_millis() * u128::from(CLOCK) / 1_000;
        let unit = AccessUnit {
            flags: UnitFlags {
                key: true,
                ..UnitFlags::default()
            },
            pts: i64::try_from(ticks).unwrap_or(i64::MAX),
            captured: now.wall.0,
            data: pictures[self.number % 2].clone(),
        };
        self.number += 1;
        let packets = self.packetiser.packetise(&unit, configuration);
        let sampled = Sampled {
            ssrc: self.packetiser.ssrc(),
            timestamp: packets.timestamp,
            at: now.wall,
        };
        Shown {
            unit: Arc::new(unit),
            packets: Arc::new(packets),
            sampled,
        }
    }
}
