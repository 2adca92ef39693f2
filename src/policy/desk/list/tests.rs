use super::*;

fn viewing(number: u64, who: &str, lasts: u64) -> Viewing {
    let from = Wall::from_seconds(1_795_400_000).plus(Duration::from_secs(number * 10));
    Viewing {
        camera: CameraId::new(format!("camera-{}", number % 7)).unwrap(),
        who: who.to_owned(),
        kind: "live".to_owned(),
        from: from.rfc3339(),
        to: from.plus(Duration::from_secs(lasts)).rfc3339(),
        holders: Vec::new(),
        count: None,
        seconds: None,
    }
}

#[test]
fn however_many_there_are_each_is_accounted_for() {
    let mut list = List::default();
    for number in 0..50_000 {
        list.add(viewing(number, "4711", 3));
    }
    assert_eq!((list.single.len(), list.folded.len()), (SINGLE, 7));
    let parts = list.parts(PART_BYTES, usize::MAX);
    let all: Vec<&Viewing> = parts.iter().flatten().collect();
    let count: u64 = all.iter().map(|one| one.count.unwrap_or(1)).sum();
    let lasted: u64 = all.iter().map(|one| seconds(one)).sum();
    assert_eq!((count, lasted), (50_000, 150_000));
    assert_eq!(all[0].from, viewing(0, "4711", 3).from, "the first");
    for part in &parts {
        assert!(serde_json::to_string(part).unwrap().len() <= PART_BYTES + 2);
    }
}

#[test]
fn more_persons_than_can_be_told_apart_are_counted_all_the_same() {
    let mut list = List::default();
    for number in 0..5_000 {
        list.add(viewing(number, &format!("{number}"), 1));
    }
    assert!(list.folded.len() <= FOLDED + 7, "{}", list.folded.len());
    let all = list.parts(PART_BYTES, usize::MAX);
    let count = |viewing: &Viewing| viewing.count.unwrap_or(1);
    assert_eq!(all.iter().flatten().map(count).sum::<u64>(), 5_000);
}

#[test]
fn nobody_watched_is_a_list_too() {
    assert_eq!(List::default().parts(10, 10), vec![Vec::new()]);
    let mut list = List::default();
    list.add(viewing(1, "4711", 1));
    assert_eq!(
        list.parts(1, 1).len(),
        1,
        "one that is too long has its own"
    );
}
