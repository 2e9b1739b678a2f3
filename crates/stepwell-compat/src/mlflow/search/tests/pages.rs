use super::*;

#[test]
fn pages_follow_one_another_to_the_end() {
    let (mut token, mut seen, mut pages) = (None::<String>, Vec::new(), 0);
    loop {
        let page = Page::cut((0..10).collect(), PageToken::parse(token.as_deref()).unwrap(), 3);
        seen.extend(page.items);
        pages += 1;
        match page.next {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    assert_eq!((seen, pages), ((0..10).collect::<Vec<i32>>(), 4));
    let exact = Page::cut(vec![1, 2, 3], PageToken::default(), 3);
    assert_eq!((exact.items.len(), exact.next), (3, None));
    assert!(Page::cut(vec![1], PageToken { offset: usize::MAX }, usize::MAX).items.is_empty());
}

#[test]
fn tokens_are_those_of_mlflow_and_others_are_refused() {
    // {"offset": 7} as MLflow's own server writes it
    assert_eq!(PageToken::parse(Some("eyJvZmZzZXQiOiA3fQ==")).unwrap(), PageToken { offset: 7 });
    assert_eq!(PageToken::parse(Some("")).unwrap(), PageToken::default());
    let refused = [
        "not base64",
        "bm90IGpzb24=",         // not json
        "e30=",                 // {}
        "eyJvZmZzZXQiOiAiYSJ9", // {"offset": "a"}
        "eyJvZmZzZXQiOiAtMX0=", // {"offset": -1}
        "W10=",                 // []
        "\u{0}",
    ];
    for token in refused {
        let message = PageToken::parse(Some(token)).unwrap_err().message;
        assert!(message.starts_with("Invalid page token, "), "{token}: {message}");
    }
}
