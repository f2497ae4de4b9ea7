//! The oracle's own known cases, put to the model.
//!
//! They are the specification of how the passes belong together, which the random cases can't judge. Invariant: an
//! example that the model can't take is a difference, never left out in silence.

use std::io;
use std::path::PathBuf;

use ringfence_nt::{AccessMask, GenericMapping, SecurityDescriptor, access_check};
use serde::Deserialize;

use super::question::{Question, class_of, unhex};
use crate::oracle::Oracles;

/// The examples could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ExamplesError {
    /// The file could not be read.
    #[error("can't read {}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what was expected.
    #[error("can't understand {}", .path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct ExampleFile {
    cases: Vec<Example>,
}

#[derive(Deserialize)]
struct Example {
    name: String,
    request: Question,
    expect: Expectation,
}

#[derive(Deserialize)]
struct Expectation {
    allowed: Option<bool>,
    granted: Option<u64>,
}

/// What a file of examples came to.
#[derive(Clone, Debug, Default)]
pub struct Examples {
    /// How many the model agrees with.
    pub agreed: usize,
    /// The others, with what each side says.
    pub differences: Vec<String>,
    /// Those under a write class that is none of the model's hypotheses.
    pub other_classes: Vec<String>,
}

/// Puts the examples of a file to the model.
///
/// # Errors
/// [`ExamplesError`].
pub fn compare_examples(oracles: &Oracles, file: &str) -> Result<Examples, ExamplesError> {
    let path = oracles.path("examples").join(file);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ExamplesError::Read { path, source }),
    };
    let file: ExampleFile = match serde_json::from_str(&text) {
        Ok(file) => file,
        Err(source) => return Err(ExamplesError::Parse { path, source }),
    };
    let mut examples = Examples::default();
    for example in &file.cases {
        match judge(example) {
            Judgement::Agrees => examples.agreed += 1,
            Judgement::Differs(difference) => {
                let name = &example.name;
                examples.differences.push(format!("{name}: {difference}"));
            }
            Judgement::OtherClass => examples.other_classes.push(example.name.clone()),
        }
    }
    Ok(examples)
}

enum Judgement {
    Agrees,
    Differs(String),
    OtherClass,
}

fn judge(example: &Example) -> Judgement {
    let Example {
        request, expect, ..
    } = example;
    let descriptor = match descriptor(request) {
        Ok(descriptor) => descriptor,
        Err(error) => return Judgement::Differs(error),
    };
    let mapping = match &request.generic_mapping {
        Some(mapping) => mapping.to_mapping(),
        None => Some(GenericMapping::FILE),
    };
    let desired = u32::try_from(request.desired).ok().map(AccessMask);
    let (Some(mapping), Some(token), Some(desired)) = (mapping, request.token.to_token(), desired)
    else {
        return Judgement::Differs("the model has no such token, mapping or request".to_owned());
    };
    let Some(class) = class_of(request, &mapping) else {
        return Judgement::OtherClass;
    };
    let access = access_check(&descriptor, &token, desired, &mapping, class);
    let granted = u64::from(access.granted().0);
    let same_verdict = expect
        .allowed
        .is_none_or(|allowed| allowed == access.is_granted());
    if same_verdict && expect.granted.is_none_or(|expected| expected == granted) {
        return Judgement::Agrees;
    }
    Judgement::Differs(format!(
        "expected {:?} {:x?}, model {access:?}",
        expect.allowed, expect.granted
    ))
}

fn descriptor(request: &Question) -> Result<SecurityDescriptor, String> {
    match (&request.sddl, &request.sd_hex) {
        (Some(text), _) => SecurityDescriptor::from_sddl(text).map_err(|error| error.to_string()),
        (None, Some(hex)) => {
            let bytes = unhex(hex).ok_or("no hexadecimal text")?;
            SecurityDescriptor::from_bytes(&bytes).map_err(|error| error.to_string())
        }
        (None, None) => Err("no descriptor".to_owned()),
    }
}
