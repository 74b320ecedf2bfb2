//! Copies of a database that is being written to.

use keyward_store::backup::{self, Step};
use keyward_store::{Glance, contacts};

use crate::world::{World, contact};

#[test]
fn a_copy_is_of_one_moment_and_tells_how_far_it_is() {
    let world = World::with_account();
    let insert = |from: u32, until: u32| {
        world
            .write(move |tx| {
                (from..until).try_for_each(|number| contacts::insert(tx, &contact(number)))
            })
            .expect("they are new");
    };
    insert(0, 8000);
    let path = world.folder.path().join("a.backup");
    drop(keyward_store::open_private(&path).expect("the folder is ours"));
    let glance = Glance::live(&world.folder.path().join("data")).expect("it is there");
    let mut told = vec![];
    let note = backup::make(&glance, &path, "now", &mut |step, done, all| {
        told.push((step, done, all));
        // Whatever is written between two steps is not in it, and no step begins anew.
        if step == Step::Copy {
            let from = 8000 + 10 * u32::try_from(told.len()).expect("few");
            insert(from, from + 10);
        }
    })
    .expect("there is room");
    let of = |step| told.iter().filter(move |told| told.0 == step).map(|told| (told.1, told.2));
    for step in [Step::Copy, Step::Sum] {
        let told: Vec<_> = of(step).collect();
        assert!(told.len() >= 2, "{step:?}: {told:?}");
        assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 == pair[1].1));
        assert_eq!(told.last().map(|(done, all)| done == all), Some(true));
    }
    assert_eq!(backup::note(&path).expect("it is one"), note);
    assert_eq!(backup::check(&path, &mut |_, _, _| {}, |_| Ok(())).expect("it is whole"), note);
    let count = |glance: &Glance| {
        let sql = "SELECT count(*) FROM contacts";
        let count = glance.read(|tx| tx.query_one(sql, &[], |row| row.int(0)));
        count.expect("it can be read")
    };
    assert_eq!(count(&Glance::still(&path).expect("it is there")), Some(8000));
    assert!(count(&glance) > Some(8000), "and more was written meanwhile");
}
