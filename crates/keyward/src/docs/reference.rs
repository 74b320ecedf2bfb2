//! The reference: every endpoint as the description has it, with a form to try it; a page for each group,
//! and one that lists them all.
//!
//! Whole on the server and readable without a script; `try.js` makes the forms send.

use askama::Template;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::schema::{ArrayItems, KnownFormat, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{
    Components, Content, Deprecated, OpenApi, RefOr, Required, Response, Schema,
};

use crate::samples::{self, Call, Sample};

/// What sends a call from a form. It keeps nothing.
pub const SCRIPT: &str = include_str!("try.js");

const JSON: &str = "application/json";

#[derive(Template)]
#[template(path = "docs/reference.html")]
struct Page<'a> {
    here: &'a str,
    /// The group that the page shows; none for the list of all.
    shown: Option<&'a str>,
    base: &'a str,
    text: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    groups: Vec<Group<'a>>,
}

struct Group<'a> {
    name: &'a str,
    /// Where its page is.
    place: &'a str,
    text: &'a str,
    entries: Vec<Entry<'a>>,
    /// What each of its entries may be refused with.
    refusals: Vec<Refusal<'a>>,
}

struct Entry<'a> {
    anchor: String,
    method: &'static str,
    path: &'a str,
    summary: &'a str,
    text: &'a str,
    is_deprecated: bool,
    asks_for_a_key: bool,
    parameters: Vec<Input<'a>>,
    body: Option<Body>,
    status: &'a str,
    success: &'a str,
    fields: Vec<Field>,
    answer: Option<String>,
    refusals: Vec<Refusal<'a>>,
    samples: Vec<Sample>,
}

struct Input<'a> {
    name: &'a str,
    place: &'static str,
    kind: String,
    text: &'a str,
    is_required: bool,
    default: String,
    example: String,
    options: Vec<&'a str>,
}

struct Body {
    fields: Vec<Field>,
    example: String,
}

struct Field {
    name: String,
    kind: String,
    text: String,
    is_required: bool,
}

#[derive(Clone, PartialEq)]
struct Refusal<'a> {
    code: &'a str,
    status: &'a str,
    message: &'a str,
}

/// The page of a group, named by where it is, or without one the list of all.
///
/// `base` is this server's address as the reader sees it; `places` says where each group's page is.
///
/// # Errors
/// If the page cannot be written.
pub fn page(
    description: &OpenApi,
    base: &str,
    places: &[(&str, &str)],
    shown: Option<&str>,
) -> Result<String, askama::Error> {
    let empty = Components::new();
    let components = description.components.as_ref().unwrap_or(&empty);
    let reader = Reader { components, base };
    let headers = components.headers.iter().filter_map(|(name, header)| match header {
        RefOr::T(header) => Some((name.as_str(), header.description.as_deref()?)),
        RefOr::Ref(_) => None,
    });
    let mut groups: Vec<Group<'_>> = description
        .tags
        .iter()
        .flatten()
        .map(|tag| Group {
            name: &tag.name,
            place: places.iter().find(|(name, _)| *name == tag.name).map_or("", |(_, at)| *at),
            text: tag.description.as_deref().unwrap_or_default(),
            entries: vec![],
            refusals: vec![],
        })
        .collect();
    for (path, item) in &description.paths.paths {
        let operations = [
            ("GET", &item.get),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            let tag = operation.tags.iter().flatten().next();
            if let Some(group) =
                groups.iter_mut().find(|group| Some(group.name) == tag.map(String::as_str))
            {
                group.entries.push(reader.entry(method, path, operation));
            }
        }
    }
    groups.iter_mut().for_each(share_refusals);
    Page {
        here: "/docs/reference",
        shown,
        base,
        text: description.info.description.as_deref().unwrap_or_default(),
        headers: headers.collect(),
        groups,
    }
    .render()
}

/// Those that all entries of a group have are told once.
fn share_refusals(group: &mut Group<'_>) {
    let Some(first) = group.entries.first() else { return };
    let is_everywhere = |refusal: &&Refusal<'_>| {
        group.entries.iter().all(|entry| entry.refusals.contains(*refusal))
    };
    group.refusals = first.refusals.iter().filter(is_everywhere).cloned().collect();
    for entry in &mut group.entries {
        entry.refusals.retain(|refusal| !group.refusals.contains(refusal));
    }
}

struct Reader<'a> {
    components: &'a Components,
    base: &'a str,
}

impl<'a> Reader<'a> {
    fn entry(&self, method: &'static str, path: &'a str, operation: &'a Operation) -> Entry<'a> {
        let name = operation.operation_id.as_deref().unwrap_or_default();
        let parameters: Vec<Input<'a>> = operation
            .parameters
            .iter()
            .flatten()
            .filter_map(|parameter| match parameter {
                RefOr::T(parameter) => Some(self.input(parameter)),
                RefOr::Ref(_) => None,
            })
            .collect();
        let sent = operation.request_body.as_ref().and_then(|body| match body {
            RefOr::T(body) => json_of(body.content.get(JSON)?),
            RefOr::Ref(_) => None,
        });
        let asks_for_a_key = operation.security.as_ref().is_some_and(|asked| !asked.is_empty());
        let id = parameters.iter().find(|input| input.place == "path");
        let filled = parameters
            .iter()
            .filter(|input| input.place == "path")
            .fold(path.to_owned(), |path, input| {
                path.replace(&format!("{{{}}}", input.name), &input.example)
            });
        let call = Call {
            method,
            path: &filled,
            name: if asks_for_a_key { name } else { "" },
            is_official: !name.starts_with("api_keys."),
            id: id.map(|input| input.example.as_str()),
            body: sent.and_then(|sent| sent.example.as_ref()),
        };
        let samples = samples::of(&call, self.base);
        let (mut status, mut success, mut given) = ("", "", None);
        let mut refusals = vec![];
        for (number, answer) in &operation.responses.responses {
            let Some(answer) = self.answer_of(answer) else { continue };
            if number.starts_with('2') {
                (status, success) = (number, &answer.description);
                given = answer.content.get(JSON).and_then(json_of);
            } else {
                refusals.extend(self.refusals(number, answer));
            }
        }
        Entry {
            anchor: name.replace(['.', '_'], "-"),
            method,
            path,
            summary: operation.summary.as_deref().unwrap_or_default(),
            text: operation.description.as_deref().unwrap_or_default(),
            is_deprecated: operation.deprecated == Some(Deprecated::True),
            asks_for_a_key,
            parameters,
            body: sent.map(|sent| Body {
                fields: self.fields_of(sent.schema.as_ref()),
                example: self.example_of(sent),
            }),
            status,
            success,
            fields: self
                .fields_of(given.and_then(|given| self.member(given.schema.as_ref()?, "data"))),
            answer: given.map(|given| self.example_of(given)),
            refusals,
            samples,
        }
    }

    fn input(&self, parameter: &'a Parameter) -> Input<'a> {
        let schema = parameter.schema.as_ref();
        let object = schema.and_then(|schema| match self.resolved(schema) {
            Some(Schema::Object(object)) => Some(object),
            _ => None,
        });
        let options = object.and_then(|object| object.enum_values.as_ref());
        let default = object.and_then(|object| object.default.as_ref());
        let example = object.and_then(|object| object.examples.first());
        Input {
            name: &parameter.name,
            place: match parameter.parameter_in {
                ParameterIn::Path => "path",
                ParameterIn::Query => "query",
                _ => "header",
            },
            kind: schema.map(|schema| self.kind_of(schema)).unwrap_or_default(),
            text: parameter.description.as_deref().unwrap_or_default(),
            is_required: parameter.required == Required::True,
            default: default.map(Value::to_string).unwrap_or_default(),
            example: example.and_then(Value::as_str).unwrap_or_default().to_owned(),
            options: options.into_iter().flatten().filter_map(Value::as_str).collect(),
        }
    }

    fn refusals(&self, status: &'a str, answer: &'a Response) -> Vec<Refusal<'a>> {
        let content = answer.content.get(JSON).and_then(json_of);
        let codes = content.into_iter().flat_map(|content| content.examples.keys());
        let message = |code: &String| match self.components.examples.get(code) {
            Some(RefOr::T(example)) => example.summary.as_str(),
            _ => "",
        };
        codes.map(|code| Refusal { code, status, message: message(code) }).collect()
    }

    fn answer_of(&self, answer: &'a RefOr<Response>) -> Option<&'a Response> {
        match answer {
            RefOr::Ref(reference) => {
                let name = reference.ref_location.strip_prefix("#/components/responses/")?;
                self.answer_of(self.components.responses.get(name)?)
            }
            RefOr::T(answer) => Some(answer),
        }
    }

    /// What a schema is, through references and through "or null".
    fn resolved(&self, schema: &'a RefOr<Schema>) -> Option<&'a Schema> {
        match schema {
            RefOr::Ref(reference) => {
                let name = reference.ref_location.rsplit('/').next()?;
                self.resolved(self.components.schemas.get(name)?)
            }
            RefOr::T(Schema::OneOf(choice)) => {
                let mut items = choice.items.iter().filter_map(|item| self.resolved(item));
                items.find(|item| !matches!(item, Schema::Object(o) if o.schema_type == SchemaType::new(Type::Null)))
            }
            RefOr::T(schema) => Some(schema),
        }
    }

    fn member(&self, schema: &'a RefOr<Schema>, name: &str) -> Option<&'a RefOr<Schema>> {
        match self.resolved(schema)? {
            Schema::Object(object) => object.properties.get(name),
            _ => None,
        }
    }

    /// The members of an object and of those in it: `pagination.page`, `contacts[].id`.
    fn fields_of(&self, schema: Option<&'a RefOr<Schema>>) -> Vec<Field> {
        let mut fields = vec![];
        if let Some(schema) = schema {
            self.add_fields("", schema, &mut fields);
        }
        fields
    }

    fn add_fields(&self, before: &str, schema: &'a RefOr<Schema>, fields: &mut Vec<Field>) {
        match self.resolved(schema) {
            Some(Schema::Object(object)) => {
                for (name, member) in &object.properties {
                    let name_here = format!("{before}{name}");
                    fields.push(Field {
                        name: name_here.clone(),
                        kind: self.kind_of(member),
                        text: self.text_of(member),
                        is_required: object.required.contains(name),
                    });
                    self.add_fields(&format!("{name_here}."), member, fields);
                }
            }
            Some(Schema::Array(array)) => {
                if let ArrayItems::RefOrSchema(item) = &array.items {
                    let before = before.strip_suffix('.').unwrap_or(before);
                    self.add_fields(&format!("{before}[]."), item, fields);
                }
            }
            _ => {}
        }
    }

    fn text_of(&self, schema: &'a RefOr<Schema>) -> String {
        let of_reference = |schema: &'a RefOr<Schema>| match schema {
            RefOr::Ref(reference) => Some(&reference.description).filter(|text| !text.is_empty()),
            RefOr::T(_) => None,
        };
        let own = match schema {
            RefOr::T(Schema::OneOf(choice)) => choice.items.iter().find_map(of_reference),
            schema => of_reference(schema),
        };
        let text = own.or_else(|| match self.resolved(schema)? {
            Schema::Object(object) => object.description.as_ref(),
            Schema::Array(array) => array.description.as_ref(),
            _ => None,
        });
        text.map(|text| text.replace('\n', " ")).unwrap_or_default()
    }

    fn kind_of(&self, schema: &'a RefOr<Schema>) -> String {
        let is_choice = matches!(schema, RefOr::T(Schema::OneOf(_)));
        let kind = match self.resolved(schema) {
            Some(Schema::Object(object)) => {
                let format = match &object.format {
                    Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)) => Some("UUID"),
                    Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)) => Some("time"),
                    _ => None,
                };
                kind_of_type(&object.schema_type, format)
            }
            Some(Schema::Array(array)) => match &array.items {
                ArrayItems::RefOrSchema(item) => format!("list of {}", self.kind_of(item)),
                ArrayItems::False => String::from("list"),
            },
            _ => String::from("any"),
        };
        if is_choice { format!("{kind} or null") } else { kind }
    }

    /// An example, in the order of its schema.
    fn example_of(&self, content: &'a Content) -> String {
        let mut text = String::new();
        if let Some(example) = &content.example {
            self.write_example(&mut text, example, content.schema.as_ref(), 0);
        }
        text
    }

    fn write_example(
        &self,
        text: &mut String,
        value: &Value,
        schema: Option<&'a RefOr<Schema>>,
        depth: usize,
    ) {
        let indent = |depth: usize| format!("\n{}", "  ".repeat(depth));
        match value {
            Value::Object(members) if !members.is_empty() => {
                let known = match schema.and_then(|schema| self.resolved(schema)) {
                    Some(Schema::Object(object)) => Some(object),
                    _ => None,
                };
                let place = |name: &String| {
                    known
                        .and_then(|object| object.properties.get_index_of(name))
                        .unwrap_or(usize::MAX)
                };
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(name, _)| place(name));
                for (index, (name, member)) in members.into_iter().enumerate() {
                    text.push_str(if index == 0 { "{" } else { "," });
                    text.push_str(&indent(depth + 1));
                    text.push_str(&Value::from(name.as_str()).to_string());
                    text.push_str(": ");
                    let schema = known.and_then(|object| object.properties.get(name));
                    self.write_example(text, member, schema, depth + 1);
                }
                text.push_str(&indent(depth));
                text.push('}');
            }
            Value::Array(items) if !items.is_empty() => {
                let schema = match schema.and_then(|schema| self.resolved(schema)) {
                    Some(Schema::Array(array)) => match &array.items {
                        ArrayItems::RefOrSchema(item) => Some(item.as_ref()),
                        ArrayItems::False => None,
                    },
                    _ => None,
                };
                for (index, item) in items.iter().enumerate() {
                    text.push_str(if index == 0 { "[" } else { "," });
                    text.push_str(&indent(depth + 1));
                    self.write_example(text, item, schema, depth + 1);
                }
                text.push_str(&indent(depth));
                text.push(']');
            }
            other => text.push_str(&other.to_string()),
        }
    }
}

fn json_of(content: &RefOr<Content>) -> Option<&Content> {
    match content {
        RefOr::T(content) => Some(content),
        RefOr::Ref(_) => None,
    }
}

fn kind_of_type(kind: &SchemaType, format: Option<&str>) -> String {
    let word = |kind: &Type| match kind {
        Type::Object => "object",
        Type::String => format.unwrap_or("text"),
        Type::Integer => "whole number",
        Type::Number => "number",
        Type::Boolean => "true or false",
        Type::Array => "list",
        Type::Null => "null",
    };
    match kind {
        SchemaType::Type(kind) => word(kind).to_owned(),
        SchemaType::Array(kinds) => kinds.iter().map(word).collect::<Vec<_>>().join(" or "),
        SchemaType::AnyValue => String::from("any"),
    }
}
