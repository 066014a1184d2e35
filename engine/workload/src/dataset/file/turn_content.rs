//! Texts and media of one turn, as single_turn, multi_turn and random_pool lines write them.

use std::collections::BTreeSet;

use pinfire_dialect::ask::{Media, TurnContent};
use serde_json::Value;

use super::fault::{Fault, fault, quoted, shown};
use super::fields::Fields;

/// A kind of media: its field for one, its field for several.
type Kind = (&'static str, &'static str);

const TEXT: Kind = ("text", "texts");
const IMAGE: Kind = ("image", "images");
const AUDIO: Kind = ("audio", "audios");
const VIDEO: Kind = ("video", "videos");

/// The fields of what a turn says.
pub(super) const FIELDS: [&str; 9] = [
    TEXT.0,
    TEXT.1,
    IMAGE.0,
    IMAGE.1,
    AUDIO.0,
    AUDIO.1,
    VIDEO.0,
    VIDEO.1,
    "image_uuids",
];

/// The roles that OpenAI's API knows; another one is sent, with a warning.
const ROLES: [&str; 6] = [
    "system",
    "developer",
    "user",
    "assistant",
    "tool",
    "function",
];

/// Whether an object could be meant to say something at all.
pub(super) fn has_any(object: &serde_json::Map<String, Value>) -> bool {
    FIELDS.iter().any(|field| object.contains_key(*field))
}

/// Takes the texts and media of a turn; plain strings are put under `name`.
pub(super) fn said(fields: &mut Fields, name: &str) -> Result<TurnContent, Fault> {
    let texts = media(fields, TEXT, name)?;
    let uuids = uuids(fields)?;
    let single = fields.has(IMAGE.0);
    let mut images = media(fields, IMAGE, name)?;
    if let Some(uuids) = &uuids {
        if single {
            return fault("image_uuids", "goes with `images`, not with `image`");
        }
        if images.is_empty() {
            // The server is to have these pictures already.
            images.push(Media {
                name: name.to_owned(),
                contents: vec![String::new(); uuids.len()],
            });
        }
        let count: usize = images.iter().map(|media| media.contents.len()).sum();
        if count != uuids.len() {
            let reason = format!("has {} ids for {count} images; give one each", uuids.len());
            return fault("image_uuids", reason);
        }
    }
    let said = TurnContent {
        role: None,
        texts,
        images,
        audios: media(fields, AUDIO, name)?,
        videos: media(fields, VIDEO, name)?,
        image_uuids: uuids.unwrap_or_default(),
    };
    Ok(said)
}

/// Whether a turn says nothing, pictures that the server has included.
pub(super) fn is_empty(said: &TurnContent) -> bool {
    let kinds = [&said.texts, &said.images, &said.audios, &said.videos];
    let mut contents = kinds
        .into_iter()
        .flatten()
        .flat_map(|media| &media.contents);
    contents.all(String::is_empty) && said.image_uuids.is_empty()
}

/// The fault of a turn that says nothing.
pub(super) fn nothing<T>() -> Result<T, Fault> {
    fault(
        "text",
        "is missing or empty; a turn needs text, texts, image(s), audio(s) or video(s)",
    )
}

/// The role of a turn; one that OpenAI's API does not know is noted.
pub(super) fn role(
    fields: &mut Fields,
    strange: &mut BTreeSet<String>,
) -> Result<Option<String>, Fault> {
    let role = fields.name("role")?;
    strange.extend(role.clone().filter(|role| !ROLES.contains(&role.as_str())));
    Ok(role)
}

fn uuids(fields: &mut Fields) -> Result<Option<Vec<String>>, Fault> {
    let Some(values) = fields.list("image_uuids")? else {
        return Ok(None);
    };
    if values.is_empty() {
        return fault("image_uuids", "is an empty list; leave it out or give ids");
    }
    let id = |value| match value {
        Value::String(id) if !id.is_empty() => Ok(id),
        other => fault(
            "image_uuids",
            format!("must be texts that are not empty, not {}", shown(&other)),
        ),
    };
    values
        .into_iter()
        .map(id)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The media of one kind: a single string, a list of strings (one object of all of them), or a list
/// of objects with names of their own.
fn media(fields: &mut Fields, kind: Kind, name: &str) -> Result<Vec<Media>, Fault> {
    let (one, many) = kind;
    if fields.has(one) && fields.has(many) {
        return fault(
            one,
            format!("and `{many}` exclude each other; keep one of them"),
        );
    }
    if let Some(content) = fields.text(one)? {
        check(kind, one, &content)?;
        return Ok(vec![Media {
            name: name.to_owned(),
            contents: vec![content],
        }]);
    }
    let Some(values) = fields.list(many)? else {
        return Ok(Vec::new());
    };
    if values.is_empty() {
        return fault(
            many,
            "is an empty list; leave it out or put something into it",
        );
    }
    if values.iter().all(Value::is_string) {
        let contents = strings(kind, many, values)?;
        return Ok(vec![Media {
            name: name.to_owned(),
            contents,
        }]);
    }
    values
        .into_iter()
        .map(|value| named(kind, many, value))
        .collect()
}

fn named(kind: Kind, field: &str, value: Value) -> Result<Media, Fault> {
    let form = "must hold texts only, or only objects {\"name\": …, \"contents\": […]}";
    let Value::Object(object) = value else {
        return fault(field, format!("{form}, not {} among others", shown(&value)));
    };
    let mut fields = Fields::new(object);
    let inner = |(inner, reason): Fault| (format!("{field}.{inner}"), reason);
    let name = fields.text("name").map_err(inner)?.unwrap_or_default();
    let Some(contents) = fields.list("contents").map_err(inner)? else {
        return fault(
            field,
            format!("{form}; an object without `contents` says nothing"),
        );
    };
    let contents = strings(kind, &format!("{field}.contents"), contents)?;
    Ok(Media { name, contents })
}

fn strings(kind: Kind, field: &str, values: Vec<Value>) -> Result<Vec<String>, Fault> {
    let text = |value| match value {
        Value::String(text) => check(kind, field, &text).map(|()| text),
        other => fault(
            field,
            format!("must hold texts only, not {}", shown(&other)),
        ),
    };
    values.into_iter().map(text).collect()
}

/// Media are URLs, data URIs or, for sound, `FORMAT,BASE64`. A local file would have to be read.
fn check((one, _): Kind, field: &str, content: &str) -> Result<(), Fault> {
    if one == TEXT.0 {
        return Ok(());
    }
    let sound = one == AUDIO.0 && (content.starts_with("wav,") || content.starts_with("mp3,"));
    if sound || content.starts_with("data:") || content.contains("://") {
        return Ok(());
    }
    fault(
        field,
        format!(
            "{} is no URL and no data: URI; local files are not read, so give it as \
             data:…;base64,…",
            quoted(content)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(object: Value) -> Result<TurnContent, Fault> {
        said(
            &mut Fields::new(object.as_object().unwrap().clone()),
            "pool",
        )
    }

    fn one(name: &str, contents: &[&str]) -> Media {
        Media {
            name: name.to_owned(),
            contents: contents.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn strings_share_an_object_and_objects_keep_their_names() {
        assert_eq!(
            read(json!({"text": "a"})).unwrap().texts,
            [one("pool", &["a"])]
        );
        let several = read(json!({"texts": ["a", "b"]})).unwrap().texts;
        assert_eq!(several, [one("pool", &["a", "b"])]);
        let named = read(json!({"texts": [
            {"name": "query", "contents": ["q"]}, {"contents": ["x", "y"]}
        ]}));
        assert_eq!(
            named.unwrap().texts,
            [one("query", &["q"]), one("", &["x", "y"])]
        );
        let media = read(json!({
            "image": "data:image/png;base64,AA", "audios": ["wav,AA", "data:audio/mp3;base64,A"],
            "video": "https://h/v.mp4"
        }));
        let media = media.unwrap();
        assert_eq!(media.images, [one("pool", &["data:image/png;base64,AA"])]);
        assert_eq!(media.audios[0].contents.len(), 2);
        assert_eq!(media.videos, [one("pool", &["https://h/v.mp4"])]);
        assert!(!is_empty(&media) && is_empty(&read(json!({"text": ""})).unwrap()));
    }

    #[test]
    fn ids_of_images() {
        let ids = read(json!({"image_uuids": ["a", "b"]})).unwrap();
        assert_eq!(ids.images, [one("pool", &["", ""])]);
        assert_eq!(ids.image_uuids, ["a", "b"]);
        assert!(!is_empty(&ids));
        let both = json!({"images": ["http://i/1"], "image_uuids": ["a"]});
        assert_eq!(read(both).unwrap().images, [one("pool", &["http://i/1"])]);
        for wrong in [
            json!({"image": "http://i/1", "image_uuids": ["a"]}),
            json!({"images": ["http://i/1"], "image_uuids": ["a", "b"]}),
            json!({"image_uuids": [""]}),
            json!({"image_uuids": []}),
            json!({"image_uuids": "a"}),
        ] {
            assert_eq!(read(wrong).unwrap_err().0, "image_uuids");
        }
    }

    #[test]
    fn faults_name_their_field() {
        for (object, field) in [
            (json!({"text": "a", "texts": ["b"]}), "text"),
            (json!({"text": 5}), "text"),
            (json!({"texts": "a"}), "texts"),
            (json!({"texts": []}), "texts"),
            (json!({"texts": ["a", 5]}), "texts"),
            (json!({"texts": [{"name": "a"}]}), "texts"),
            (
                json!({"texts": [{"name": 5, "contents": []}]}),
                "texts.name",
            ),
            (json!({"texts": [{"contents": "a"}]}), "texts.contents"),
            (json!({"texts": [{"contents": [5]}]}), "texts.contents"),
            (json!({"image": "cat.png"}), "image"),
            (json!({"images": ["/a/cat.png"]}), "images"),
            (json!({"audio": "flac,AA"}), "audio"),
        ] {
            let shown = object.to_string();
            assert_eq!(read(object).unwrap_err().0, field, "{shown}");
        }
    }
}
