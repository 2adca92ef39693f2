//! What VMS accounts may see.

use super::*;

fn viewer(number: u64) -> Viewer {
    Viewer {
        number,
        grant: id(1),
        commune: commune(),
        camera: camera("quai-nord"),
        who: "vms:mur".to_owned(),
        how: VMS.to_owned(),
        from: format!("10.13.4.2:{}", 5_000 + number),
    }
}

/// What becomes of a viewing that begins now: admitted, or why not.
fn begins(world: &mut World, viewer: Viewer) -> Result<(), Reason> {
    let now = world.now();
    world.desk.handle_viewing_started(viewer, now);
    let commands = world.drain();
    let told = commands.iter().find_map(|command| match command {
        Command::AdmitViewer { .. } => Some(Ok(())),
        Command::RefuseViewer { reason, .. } => Some(Err(*reason)),
        _ => None,
    });
    told.expect("an answer")
}

fn ends(world: &mut World, number: u64) {
    let now = world.now();
    world.desk.handle_viewing_ended(number, None, now);
    world.drain();
}

fn announce(world: &mut World, vms: bool) {
    let mut hello = hello();
    hello.agreements[0].vms = vms;
    world.tell(1, ToReceiver::Hello(hello));
}

fn under(world: &mut World, agreement: &str) {
    let agreement = agreement.to_owned();
    let message = ToReceiver::GrantAgreement {
        grant: id(1),
        agreement,
    };
    world.tell(1, message);
}

#[test]
fn a_grant_is_shown_where_its_own_agreement_says_so() {
    let mut world = World::linked();
    announce(&mut world, true);
    world.granted(id(1), &["quai-nord"]);
    let unknown = Err(Reason::GrantUnknown);
    assert_eq!(begins(&mut world, viewer(1)), unknown, "not said which");
    under(&mut world, "another");
    assert_eq!(begins(&mut world, viewer(2)), unknown, "not announced");
    under(&mut world, "Convention");
    assert_eq!(begins(&mut world, viewer(3)), Ok(()));
    let started = world
        .entries
        .iter()
        .rev()
        .find_map(|(_, _, entry)| match entry {
            Entry::ViewingStarted { who, how, .. } => Some((who.as_str(), how.as_str())),
            _ => None,
        });
    assert_eq!(started, Some(("vms:mur", "vms")));
    let elsewhere = Viewer {
        camera: camera("quai-sud"),
        ..viewer(4)
    };
    assert_eq!(begins(&mut world, elsewhere), unknown, "not granted");
    ends(&mut world, 3);
    // The commune withdraws it: who comes back is looked at again.
    announce(&mut world, false);
    assert_eq!(begins(&mut world, viewer(5)), unknown);
}

#[test]
fn what_was_said_before_the_grant_counts_and_is_in_the_journal() {
    let mut world = World::linked();
    announce(&mut world, true);
    under(&mut world, "Convention");
    world.granted(id(1), &["quai-nord"]);
    assert_eq!(begins(&mut world, viewer(1)), Ok(()));
    let grant = world.entries.iter().find_map(|(_, _, entry)| match entry {
        Entry::Grant(entry) => Some(entry.agreement.as_str()),
        _ => None,
    });
    assert_eq!(grant, Some("Convention"));
}

#[test]
fn an_operator_who_is_called_like_an_account_is_none() {
    let mut world = World::linked();
    announce(&mut world, true);
    under(&mut world, "Convention");
    world.granted(id(1), &["quai-nord"]);
    let signer = Viewer {
        who: "4711".to_owned(),
        ..viewer(1)
    };
    assert_eq!(begins(&mut world, signer), Ok(()), "by the account's way");
    announce(&mut world, false);
    let signer = Viewer {
        who: "4711".to_owned(),
        ..viewer(2)
    };
    assert_eq!(begins(&mut world, signer), Err(Reason::GrantUnknown));
}
