//! Link authorities with real handshakes: two at once while one replaces the other, each with its own
//! revocation list, and lists that never go back.

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::link::transport::Transport;

use super::world::{CENTRE, COMMUNE, Centre, World, down, up};
use super::{any, refused};

const QUIC: Transport = Transport::Quic;

/// Both roots in `link-ca.pem`, `link.crl.pem` still of the old one alone.
fn replaced() -> (World, Trial) {
    let world = World::new();
    let next = Trial::new(world.now).unwrap();
    let both = format!("{}{}", world.trial.link_authority(), next.link_authority());
    world.write("link-ca.pem", &both);
    world.write_identity("moved", &next, COMMUNE);
    (world, next)
}

async fn gets_in(world: &World, centre: &mut Centre, identity: &str) {
    let link = world.client(identity).link(QUIC, centre.address).await;
    let (peer, ..) = up(&mut centre.events).await;
    assert_eq!(peer, COMMUNE);
    drop(link);
    down(&mut centre.events).await;
}

#[tokio::test]
async fn while_an_authority_is_replaced_machines_of_both_get_in() {
    let (world, next) = replaced();
    let mut centre = world.accept(any(), &Clock::system());
    gets_in(&world, &mut centre, COMMUNE).await;
    gets_in(&world, &mut centre, "moved").await;
    centre.stop().await;
    // The centre moves too: the commune, whose list is of the old root, accepts it.
    world.write_identity(CENTRE, &next, CENTRE);
    let mut centre = world.accept(any(), &Clock::system());
    gets_in(&world, &mut centre, COMMUNE).await;
    gets_in(&world, &mut centre, "moved").await;
    centre.stop().await;
}

#[tokio::test]
async fn each_authority_revokes_with_its_own_list() {
    let (mut world, mut next) = replaced();
    let read = |name: &str| std::fs::read_to_string(world.path(name)).unwrap();
    let (old, moved) = (read("berre-l-etang.pem"), read("moved.pem"));
    let now = world.now;
    let list = world.trial.revoke_machine(&old, now).unwrap().to_owned();
    world.write("link.crl.pem", &list);
    let mut centre = world.accept(any(), &Clock::system());
    let cause = refused(QUIC, &world, &mut centre, COMMUNE).await;
    assert!(cause.to_lowercase().contains("revoked"), "{cause}");
    gets_in(&world, &mut centre, "moved").await;
    let both = format!("{list}{}", next.revoke_machine(&moved, now).unwrap());
    world.write("link.crl.pem", &both);
    centre.reload(&world.receiver(any()));
    for identity in [COMMUNE, "moved"] {
        let cause = refused(QUIC, &world, &mut centre, identity).await;
        assert!(cause.to_lowercase().contains("revoked"), "{cause}");
    }
    centre.stop().await;
}

/// Lets the commune in until it is revoked; then puts the older list back.
#[tokio::test]
async fn an_older_list_lifts_no_revocation_not_even_after_a_restart() {
    let mut world = World::new();
    let certificate = std::fs::read_to_string(world.path("berre-l-etang.pem")).unwrap();
    let older = world.trial.link_list().to_owned();
    let now = world.now;
    let newer = world.trial.revoke_machine(&certificate, now).unwrap();
    let newer = newer.to_owned();
    let mut centre = world.accept(any(), &Clock::system());
    gets_in(&world, &mut centre, COMMUNE).await;
    for list in [&newer, &older] {
        world.write("link.crl.pem", list);
        centre.reload(&world.receiver(any()));
        let cause = refused(QUIC, &world, &mut centre, COMMUNE).await;
        assert!(cause.to_lowercase().contains("revoked"), "{cause}");
    }
    centre.stop().await;
    let mut centre = world.accept(any(), &Clock::system());
    let cause = refused(QUIC, &world, &mut centre, COMMUNE).await;
    assert!(cause.to_lowercase().contains("revoked"), "{cause}");
    centre.stop().await;
}

#[tokio::test]
async fn a_communes_own_authority_revokes_with_a_list_in_the_same_file() {
    let world = World::new();
    let mut own = Trial::new(world.now).unwrap();
    world.write("own-ca.pem", own.link_authority());
    world.write_identity("own", &own, COMMUNE);
    world.receiver(any());
    let settings = std::fs::read_to_string(world.path("receiver.toml")).unwrap();
    let named = format!("id = \"{COMMUNE}\"");
    let settings = settings.replace(&named, &format!("{named}\nauthority = \"own-ca.pem\""));
    world.write("own.toml", &settings);
    let load = || fanal::config::load_receiver(&world.path("own.toml")).unwrap();
    let mut centre = world.accept(any(), &Clock::system());
    centre.reload(&load().settings);
    gets_in(&world, &mut centre, "own").await;
    let certificate = std::fs::read_to_string(world.path("own.pem")).unwrap();
    let list = own.revoke_machine(&certificate, world.now).unwrap();
    let both = format!("{}{list}", world.trial.link_list());
    world.write("link.crl.pem", &both);
    centre.reload(&load().settings);
    let cause = refused(QUIC, &world, &mut centre, "own").await;
    assert!(cause.to_lowercase().contains("revoked"), "{cause}");
    centre.stop().await;
}
