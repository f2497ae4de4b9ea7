//! Tests of paths: their only reading, and what a pattern means.

use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> PathPattern {
    text.parse().unwrap()
}

fn is_meant(text: &str, path: &str) -> bool {
    pattern(text).matches(&RequestPath::parse(path).unwrap())
}

#[test]
fn a_pattern_means_what_it_says() {
    for (text, meant, not) in [
        ("/", &["/", "/?q"][..], &["/a", "/a/"][..]),
        (
            "/v1",
            &["/v1", "/v1?a=b/c"],
            &["/v1/", "/v1/x", "/V1", "/v11"],
        ),
        (
            "/v1/**",
            &["/v1/", "/v1/x", "/v1/x/y/", "/v1/%41"],
            &["/v1", "/v11/x", "/"],
        ),
        ("/**", &["/", "/a/b"], &[]),
        ("/*", &["/a", "/%C3%A4"], &["/", "/a/b", "/a/"]),
        (
            "/repos/*/issues",
            &["/repos/a/issues"],
            &["/repos/a/b/issues", "/repos/issues"],
        ),
        (
            "/repos/**/issues",
            &["/repos/issues", "/repos/a/issues", "/repos/a/b/issues"],
            &["/repos/a", "/repos/a/issues/1"],
        ),
        (
            "/a*b*c",
            &["/abc", "/a-b-c", "/abbcc"],
            &["/ab", "/acb", "/abcd"],
        ),
        ("/ä/x", &["/%C3%A4/x"], &["/a/x"]),
    ] {
        for path in meant {
            assert!(is_meant(text, path), "{text} means {path}");
        }
        for path in not {
            assert!(!is_meant(text, path), "{text} does not mean {path}");
        }
    }
}

#[test]
fn a_path_with_two_readings_is_refused() {
    for (path, reason) in [
        ("", PathError::NotAPath),
        ("*", PathError::NotAPath),
        ("v1/x", PathError::NotAPath),
        ("/v1/../admin", PathError::Dots),
        ("/v1/./x", PathError::Dots),
        ("/v1/...", PathError::Dots),
        ("/v1/%2e%2e/admin", PathError::HiddenCharacter),
        ("/v1/.%2E/admin", PathError::HiddenCharacter),
        ("/v1/..%2fadmin", PathError::HiddenCharacter),
        ("/v1%2F..%2Fadmin", PathError::HiddenCharacter),
        ("/v1/%252e%252e/admin", PathError::HiddenCharacter),
        ("/v1/..%5cadmin", PathError::HiddenCharacter),
        ("/v1/%00", PathError::HiddenCharacter),
        ("/v1/%0d%0aX", PathError::HiddenCharacter),
        ("/v1/x%3b", PathError::HiddenCharacter),
        ("/v1/secret%3f/readme", PathError::HiddenCharacter),
        ("/v1/secret%23/readme", PathError::HiddenCharacter),
        ("/v1/..%20/admin", PathError::Dots),
        ("/v1/.%20./admin", PathError::Dots),
        ("/v1/..%c2%a0/admin", PathError::Dots),
        ("/v1/%ef%bc%8e%ef%bc%8e/admin", PathError::HiddenCharacter),
        ("/v1/..%ef%bc%8fadmin", PathError::HiddenCharacter),
        ("/v1/..;/admin", PathError::Parameters),
        ("/v1/x;.json", PathError::Parameters),
        ("/v1\\..\\admin", PathError::Character),
        ("/v1/ä", PathError::Character),
        ("//admin", PathError::EmptySegment),
        ("/v1//admin", PathError::EmptySegment),
        ("/v1/%c0%af", PathError::NotUtf8),
        ("/v1/%ff", PathError::NotUtf8),
        ("/v1/%", PathError::Escape),
        ("/v1/%2", PathError::Escape),
        ("/v1/%u002e", PathError::Escape),
        ("/v1/%+2", PathError::Escape),
        ("/v1/x#y", PathError::Fragment),
        ("/v1/x?a#y", PathError::Fragment),
    ] {
        assert_eq!(RequestPath::parse(path), Err(reason), "{path}");
    }
    assert_eq!(
        RequestPath::parse(&format!("/{}", "x".repeat(MAX_PATH))),
        Err(PathError::TooLong)
    );
    assert_eq!(
        RequestPath::parse(&"/x".repeat(MAX_SEGMENTS + 1)),
        Err(PathError::TooLong)
    );
}

#[test]
fn a_pattern_that_could_mean_nothing_is_refused() {
    for text in [
        "", "v1", "*", "/v1/**x", "/a**", "/v1/../x", "/v1//x", "/v1/x?y", "/%41", "/a;b", "/a\\b",
        "/a b", "/a#b", "/a\nb",
    ] {
        assert!(text.parse::<PathPattern>().is_err(), "{text:?}");
    }
    for text in ["get", "", "GET ", "G E", "CONNECT", "GET,POST"] {
        assert!(text.parse::<Method>().is_err(), "{text:?}");
    }
}

fn scope(methods: &[&str], paths: &[&str]) -> RequestScope {
    RequestScope {
        methods: methods.iter().map(|text| text.parse().unwrap()).collect(),
        paths: paths.iter().map(|text| pattern(text)).collect(),
    }
}

#[test]
fn a_query_does_not_smuggle_a_method() {
    let get = scope(&["GET"], &[]);
    for harmless in ["method=list&a=_method", "q=100%", "methods=DELETE"] {
        assert_eq!(get.allows("GET", &format!("/x?{harmless}")), Ok(true));
    }
    assert_eq!(get.allows("POST", "/x"), Ok(false));
    for query in [
        "_method=DELETE",
        "a=b&_METHOD=PUT",
        "a;_method=x",
        "%5fmethod=x",
        "_metho%64",
        ".method=DELETE",
        "%20_method=DELETE",
        "+_method=DELETE",
        "_method%00=DELETE",
        "_method[]=DELETE",
        "method=delete",
        "method=%50UT",
    ] {
        assert_eq!(
            get.allows("GET", &format!("/x?{query}")),
            Err(PathError::MethodOverride),
            "{query}"
        );
    }
    // Without a limit on methods there is nothing to smuggle.
    assert_eq!(
        scope(&[], &["/x"]).allows("GET", "/x?_method=PUT"),
        Ok(true)
    );
}

#[test]
fn a_scope_covers_what_is_no_wider() {
    let wide = scope(&["GET", "HEAD"], &["/v1/**", "/x"]);
    for inner in [
        scope(&["GET"], &["/v1/a", "/v1/*/b"]),
        scope(&["HEAD"], &["/x", "/v1/**"]),
    ] {
        assert!(wide.covers(&inner), "{inner}");
    }
    for inner in [
        scope(&[], &["/x"]),
        scope(&["GET"], &[]),
        scope(&["POST"], &["/x"]),
        scope(&["GET"], &["/v1"]),
        scope(&["GET"], &["/**"]),
        scope(&["GET"], &["/*"]),
    ] {
        assert!(!wide.covers(&inner), "{inner}");
    }
    assert!(scope(&[], &["/**"]).covers(&scope(&["GET"], &["/a"])));
}

proptest! {
    /// Whatever is accepted means the same to a server that decodes it again, merges slashes, or resolves dots.
    #[test]
    fn an_accepted_path_has_one_reading(
        path in "/([a-c.%2e/;\\\\]|%2e|%2f|%25|%41|%C3%A4|\\.\\.){0,12}"
    ) {
        if let Ok(read) = RequestPath::parse(&path) {
            let again = format!("/{}", read.segments.join("/"));
            prop_assert!(!again.contains("//") && !again.contains('%') && !again.contains('\\'));
            prop_assert!(read.segments.iter().all(|segment| segment != "." && segment != ".."));
            let encoded = again.replace('ä', "%C3%A4");
            prop_assert_eq!(RequestPath::parse(&encoded), Ok(read));
        }
    }

    #[test]
    fn what_covers_means_all_that_is_covered(
        outer in "/(a|b|\\*|\\*\\*)(/(a|b|\\*|\\*\\*)){0,2}",
        inner in "/(a|b|\\*|\\*\\*)(/(a|b|\\*|\\*\\*)){0,2}",
        path in "(/[ab]?){1,4}",
    ) {
        let (outer, inner) = (pattern(&outer), pattern(&inner));
        if let Ok(path) = RequestPath::parse(&path)
            && outer.covers(&inner) && inner.matches(&path)
        {
            prop_assert!(outer.matches(&path));
        }
    }
}
