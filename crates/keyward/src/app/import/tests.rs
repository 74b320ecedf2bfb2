//! Rows, good and bad.

use super::*;

#[test]
fn a_key_in_the_wrong_column_is_told_and_not_shown() {
    const KEY: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
    let read = |file: &str| read(file.as_bytes(), UnixMillis(0), &|_| {});
    for head in [format!("{KEY}8,a,test\n"), format!("key={KEY},a,test\n")] {
        let error = read(&head).err().expect("it has no line of names");
        assert!(format!("{error:?}").contains("must begin with a line of column names"));
        assert!(!format!("{error} {error:?}").contains(&KEY[..8]));
    }
    let file = format!("key,name,environment,permissions\n{KEY},a,test,{KEY}\n");
    let faults = read(&file).expect("it is CSV").faults;
    assert_eq!(faults[0].reason, "permissions: what stands there is none");
}

#[test]
fn a_line_is_told_by_its_number_however_lines_end() {
    const KEY: &str = "0f8fad5b-d9cb-469f-a165-70867728950";
    let file = format!("key,name,environment\n{KEY}1,a,test\n{KEY}2,b,best\n{KEY}1,c,test\n");
    for end in ["\n", "\r\n", "\r"] {
        let checked = read(file.replace('\n', end).as_bytes(), UnixMillis(0), &|_| {});
        let checked = checked.expect("it is CSV");
        let told: Vec<(u64, &str)> =
            checked.faults.iter().map(|fault| (fault.line, fault.reason.as_str())).collect();
        let environment = (3, "environment: must be production or test");
        assert_eq!(checked.rows[0].line, 2);
        assert_eq!(told, [environment, (4, "repeats the key of line 2")], "{end:?}");
    }
}
