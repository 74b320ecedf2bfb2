//! `keyward config`: what is in force, and who said so.

use serde_json::{Map, Value, json};

use super::{Context, Failure, output};

pub(super) fn show(context: &Context) -> Result<(), Failure> {
    if context.is_json {
        let settings = context.explained.iter().map(|setting| {
            let told = json!({"value": setting.value, "source": setting.source.to_string()});
            (setting.name.to_owned(), told)
        });
        return output::json(&Value::Object(settings.collect::<Map<_, _>>()));
    }
    let rows: Vec<Vec<String>> = context
        .explained
        .iter()
        .map(|setting| {
            vec![setting.name.to_owned(), setting.value.clone(), setting.source.to_string()]
        })
        .collect();
    output::data(&output::table(&["SETTING", "VALUE", "FROM"], &rows))
}
