//! What is new in mails of the common clients, in many languages.

use super::markup::Mark;
use super::*;
use proptest::prelude::*;

const HISTORY: LeftOut = LeftOut::QuotedHistory;
const SIGNATURE: LeftOut = LeftOut::Signature;
const DISCLAIMER: LeftOut = LeftOut::Disclaimer;

#[track_caller]
fn is_new(body: &str, text: &str, left_out: &[LeftOut]) {
    let new = new_text(body, false);
    assert_eq!((new.text.as_str(), new.left_out.as_slice()), (text, left_out), "{body}");
    assert!(new.without_history.len() >= text.len(), "{body}");
}

#[track_caller]
fn is_new_in_forward(body: &str, text: &str, left_out: &[LeftOut]) {
    let new = new_text(body, true);
    assert_eq!((new.text.as_str(), new.left_out.as_slice()), (text, left_out), "{body}");
}

const GMAIL: &str = r#"<div dir="ltr"><div>The export fails again.</div><div><br clear="all"></div><span class="gmail_signature_prefix">-- </span><br><div dir="ltr" class="gmail_signature" data-smartmail="gmail_signature"><div>Dana Chen<div>Acme</div></div></div></div><br><div class="gmail_quote gmail_quote_container"><div dir="ltr" class="gmail_attr">On Mon, Mar 3, 2025 at 10:00 AM Support &lt;<a href="mailto:support@northwind.example">support@northwind.example</a>&gt; wrote:<br></div><blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex;border-left:1px solid rgb(204,204,204);padding-left:1ex"><div>There was an outage.<blockquote class="gmail_quote"><div>Is it urgent?</div></blockquote></div></blockquote></div>"#;

#[test]
fn quotes_and_signature_of_gmail_are_left_out() {
    is_new(GMAIL, "The export fails again.", &[SIGNATURE, HISTORY]);
    is_new(&GMAIL.replace("class=\"gmail_", "class=\"x_gmail_"), "The export fails again.", &[SIGNATURE, HISTORY]);
}

#[test]
fn answers_between_the_quotes_of_gmail_are_kept() {
    let body = r#"<div dir="ltr">See below.</div><div class="gmail_quote"><div class="gmail_attr">Am Mo., 3. März 2025 um 10:00 Uhr schrieb Ines:</div><blockquote class="gmail_quote"><div>Which version?</div></blockquote><div>Version 4.2.</div><blockquote class="gmail_quote">Which browser?</blockquote><div>All of them.</div></div>"#;
    is_new(body, "See below.\n\nVersion 4.2.\n\nAll of them.", &[HISTORY]);
}

#[test]
fn forward_of_gmail_is_kept_without_its_header() {
    let body = r#"<div dir="ltr">Can you help them?<br><br><div class="gmail_quote"><div dir="ltr" class="gmail_attr">---------- Forwarded message ---------<br>From: <strong>Dana Chen</strong> <span>&lt;dana@acme.example&gt;</span><br>Date: Mon, Mar 3, 2025 at 10:00 AM<br>Subject: Login<br>To: &lt;ines@northwind.example&gt;<br></div><br><br><div>The login shows an error.<br></div><div class="gmail_quote"><div class="gmail_attr">On Sun, Mar 2, 2025 Ines wrote:</div><blockquote class="gmail_quote">Is there an outage?</blockquote></div></div></div>"#;
    for forwarded in [false, true] {
        let found = new_text(body, forwarded);
        assert_eq!(found.text, "Can you help them?\n\nThe login shows an error.");
        assert_eq!(found.left_out, [HISTORY]);
    }
}

#[test]
fn history_of_outlook_on_the_desktop_is_left_out() {
    for (from, sent, to, subject) in [
        ("From", "Sent", "To", "Subject"),
        ("Von", "Gesendet", "An", "Betreff"),
        ("De", "Envoyé", "À", "Objet"),
        ("Fra", "Sendt", "Til", "Emne"),
        ("Od", "Wysłano", "Do", "Temat"),
        ("Xyzzy", "Plugh", "Frobozz", "Zork"),
    ] {
        let body = format!(
            r"<html><head><style><!-- p.MsoNormal {{margin:0cm}} .error {{color:red}} --></style></head><body lang=EN-US><div class=WordSection1><p class=MsoNormal>It is down again.<o:p></o:p></p><p class=MsoNormal><o:p>&nbsp;</o:p></p><div><div style='border:none;border-top:solid #E1E1E1 1.0pt;padding:3.0pt 0cm 0cm 0cm'><p class=MsoNormal><b>{from}:</b> Support &lt;support@northwind.example&gt; <br><b>{sent}:</b> Montag, 3. März 2025 10:00<br><b>{to}:</b> Dana Chen<br><b>{subject}:</b> Re: outage<o:p></o:p></p></div></div><p class=MsoNormal>Is it urgent?</p></div></body></html>"
        );
        is_new(&body, "It is down again.", &[HISTORY]);
        is_new_in_forward(&body, "It is down again.\n\nIs it urgent?", &[]);
        let plain = body.replace("border-top", "border-left");
        if from != "Xyzzy" {
            is_new(&plain, "It is down again.", &[HISTORY]);
        }
    }
}

#[test]
fn line_above_a_paragraph_is_no_history_where_no_header_follows() {
    let body = "<p>First.</p><div style=\"border-top:solid #E1E1E1 1.0pt\"><p>Second: the export.</p></div>";
    is_new(body, "First.\n\nSecond: the export.", &[]);
}

#[test]
fn history_and_signature_of_outlook_on_the_web_are_left_out() {
    let body = r#"<div class="elementToProof">Still slow.</div><div id="Signature"><div><div>Dana</div></div></div><div id="appendonsend"></div><hr style="display:inline-block;width:98%" tabindex="-1"><div id="divRplyFwdMsg" dir="ltr"><font face="Calibri"><b>From:</b> Support &lt;support@northwind.example&gt;<br><b>Sent:</b> Monday, March 3, 2025 10:00 AM<br><b>To:</b> Dana<br><b>Subject:</b> Re: outage</font><div>&nbsp;</div></div><div>Is it urgent?</div>"#;
    is_new(body, "Still slow.", &[SIGNATURE, HISTORY]);
    is_new(&body.replace("id=\"", "id=\"x_"), "Still slow.", &[SIGNATURE, HISTORY]);
    is_new_in_forward(body, "Still slow.\n\nIs it urgent?", &[SIGNATURE]);
}

#[test]
fn history_of_apple_mail_is_left_out_and_its_forward_kept() {
    let reply = r#"<html><head></head><body>Works now, but slowly.<br id="lineBreakAtBeginningOfMessage"><div><br><blockquote type="cite"><div>On 3 Mar 2025, at 10:00, Support &lt;support@northwind.example&gt; wrote:</div><br class="Apple-interchange-newline"><div><div>Is it urgent?</div></div></blockquote></div><br></body></html>"#;
    is_new(reply, "Works now, but slowly.", &[HISTORY]);
    let older = r#"<div>Works now.</div><br><div><div>On Mar 3, 2025, at 10:00, Support wrote:</div><br><blockquote type="cite"><div>Is it urgent?</div></blockquote></div><div>It was.</div>"#;
    is_new(older, "Works now.\n\nIt was.", &[HISTORY]);
    let forward = r#"<div>From a customer.<br><div><br><blockquote type="cite"><div>Begin forwarded message:</div><br class="Apple-interchange-newline"><div><b>From: </b>Dana Chen &lt;dana@acme.example&gt;</div><div><b>Subject: </b><b>Login</b></div><div><b>Date: </b>3. March 2025 at 10:00:00 CET</div><div><b>To: </b>ines@northwind.example</div><br><div>The login shows an error.</div><blockquote type="cite"><div>Is there an outage?</div></blockquote></blockquote></div></div>"#;
    is_new(forward, "From a customer.\n\nThe login shows an error.", &[HISTORY]);
    let plain = "From a customer.\n\nAnfang der weitergeleiteten Nachricht:\n\n> Von: Dana Chen <dana@acme.example>\n> Betreff: Login\n> Datum: 3. März 2025 um 10:00:00 MEZ\n> An: ines@northwind.example\n> \n> The login shows an error.\n>> Is there an outage?\n";
    is_new(plain, "From a customer.\n\nThe login shows an error.", &[HISTORY]);
}

#[test]
fn history_and_signature_of_thunderbird_are_left_out_and_its_forward_kept() {
    let reply = r#"<p>The second try worked.</p><pre class="moz-signature" cols="72">-- 
Dana Chen</pre><div class="moz-cite-prefix">3.3.2025 klo 10.00, Support sanoi:<br></div><blockquote type="cite" cite="mid:1@northwind.example"><p>Is it urgent?</p></blockquote><p>Thank you!</p>"#;
    is_new(reply, "The second try worked.\n\nThank you!", &[SIGNATURE, HISTORY]);
    let forward = r#"<p>For you.</p><div class="moz-forward-container"><br><br>-------- Weitergeleitete Nachricht --------<table class="moz-email-headers-table" cellspacing="0"><tbody><tr><th align="RIGHT">Betreff: </th><td>Login</td></tr><tr><th>Von: </th><td>Dana</td></tr></tbody></table><br><br>The login shows an error.<div class="moz-cite-prefix">Am 03.03.25 um 10:00 schrieb Ines:</div><blockquote type="cite">Is there an outage?</blockquote></div>"#;
    is_new(forward, "For you.\n\nThe login shows an error.", &[HISTORY]);
}

#[test]
fn history_of_yahoo_proton_zoho_and_mail_ru_is_left_out() {
    for quote in [
        r#"<div id="ydp7yahoo_quoted_1" class="ydp7f3yahoo_quoted"><div>On Monday, March 3, 2025, Support wrote:</div><div><br></div><div>Is it urgent?</div></div>"#,
        r#"<div class="protonmail_quote">On Monday, March 3rd, 2025 at 10:00, Support &lt;support@northwind.example&gt; wrote:<br><br><blockquote class="protonmail_quote" type="cite">Is it urgent?</blockquote></div>"#,
        r#"<div class="zmail_extra"><div id="Zm-_Id_-Sgn1">---- On Mon, 03 Mar 2025 10:00:00 +0100 <b>Support</b> wrote ----</div><blockquote>Is it urgent?</blockquote></div>"#,
        r#"<div>Понедельник, 3 марта 2025, 10:00 +03:00 от Support &lt;support@northwind.example&gt;:<br>&nbsp;</div><blockquote style="border-left:1px solid #08C"><div>Is it urgent?</div></blockquote>"#,
    ] {
        is_new(&format!("<div>Solved.</div>{quote}"), "Solved.", &[HISTORY]);
    }
}

#[test]
fn block_quote_without_attribution_is_the_writers_own() {
    is_new(
        "<p>I get this:</p><blockquote><p>Permission denied</p></blockquote><p>Why?</p>",
        "I get this:\n\nPermission denied\n\nWhy?",
        &[],
    );
}

#[test]
fn elements_that_never_end_last_until_the_end() {
    is_new("<div>New.<div class=gmail_quote><blockquote class=gmail_quote>Old.<div>Older.", "New.", &[HISTORY]);
    is_new("<p>New.</p><div id='Signature'>Dana", "New.", &[SIGNATURE]);
}

#[test]
fn everything_below_an_attribution_goes_in_every_language() {
    for attribution in [
        "On Mon, Mar 3, 2025 at 10:00 AM Ines Holm <ines@northwind.example> wrote:",
        "On Mon, Mar 3, 2025 at 10:00 AM Ines Holm\n<ines@northwind.example> wrote:",
        "On Mon, Mar 3, 2025 at 10:00 AM\nInes Holm <ines@northwind.example>\nwrote:",
        "Am Mo., 3. März 2025 um 10:00 Uhr schrieb Ines Holm <ines@northwind.example>:",
        "Am 03.03.25 um 10:00 schrieb Ines Holm:",
        "Ines Holm <ines@northwind.example> schrieb am Mo., 3. März 2025, 10:00:",
        "Le lun. 3 mars 2025 à 10:00, Ines Holm <ines@northwind.example> a écrit :",
        "El lun, 3 mar 2025 a las 10:00, Ines Holm (<ines@northwind.example>) escribió:",
        "Il giorno lun 3 mar 2025 alle ore 10:00 Ines Holm ha scritto:",
        "Em seg., 3 de mar. de 2025 às 10:00, Ines Holm <ines@northwind.example> escreveu:",
        "Op ma 3 mrt 2025 om 10:00 schreef Ines Holm <ines@northwind.example>:",
        "Den mån 3 mars 2025 kl 10:00 skrev Ines Holm <ines@northwind.example>:",
        "Den man. 3. mar. 2025 kl. 10.00 skrev Ines Holm:",
        "man. 3. mars 2025 kl. 10:00 skrev Ines Holm <ines@northwind.example>:",
        "ma 3. maalisk. 2025 klo 10.00 Ines Holm (ines@northwind.example) kirjoitti:",
        "pon., 3 mar 2025 o 10:00 Ines Holm <ines@northwind.example> napisał(a):",
        "W dniu 3.03.2025 o 10:00, Ines Holm pisze:",
        "po 3. 3. 2025 v 10:00 odesílatel Ines Holm <ines@northwind.example> napsal:",
        "пн, 3 мар. 2025 г. в 10:00, Ines Holm <ines@northwind.example>:",
        "03.03.2025 10:00, Ines Holm пишет:",
        "Ines Holm <ines@northwind.example>, 3 Mar 2025 Pzt, 10:00 tarihinde şunu yazdı:",
        "2025年3月3日(月) 10:00 Ines Holm <ines@northwind.example>:",
        "2025/03/03 10:00、Ines Holm <ines@northwind.example>のメール：",
        "在 2025年3月3日，10:00，Ines Holm <ines@northwind.example> 写道：",
        "Ines Holm <ines@northwind.example> 于2025年3月3日周一 10:00写道：",
        "2025년 3월 3일 (월) 오전 10:00, Ines Holm <ines@northwind.example>님이 작성:",
        "---- On Mon, 03 Mar 2025 10:00:00 +0100 Ines Holm <ines@northwind.example> wrote ----",
    ] {
        is_new(&format!("Still broken.\n\n{attribution}\n\nIs it urgent?\nYours"), "Still broken.", &[HISTORY]);
        is_new(&format!("Still broken.\n{attribution}\n> Is it urgent?\n\nYes."), "Still broken.\n\nYes.", &[HISTORY]);
    }
}

#[test]
fn sentence_about_what_somebody_wrote_is_no_attribution() {
    for text in [
        "It broke at 10:00.\nMy colleague wrote:\nPermission denied",
        "On Monday at 10:00 the page wrote:\nPermission denied",
        "I am on version 2025:\nwhat now?",
    ] {
        is_new(text, text, &[]);
    }
    is_new("Hi,\nInes wrote:\n> Is it urgent?\nYes, it is.", "Hi,\n\nYes, it is.", &[HISTORY]);
}

#[test]
fn everything_below_an_original_message_or_header_goes() {
    for header in [
        "-----Original Message-----\nFrom: Ines\nSent: Monday\n",
        "-----Ursprüngliche Nachricht-----\nVon: Ines\n",
        "-------- Message d'origine --------\n",
        "----- Mensaje original -----\nDe: Ines\n",
        "-----Oprindelig meddelelse-----\n",
        "-----Ursprungligt meddelande-----\n",
        "------------------ 原始邮件 ------------------\n发件人: Ines\n",
        "________________________________\nFrom: Ines <ines@northwind.example>\nSent: Monday\nTo: Dana\nSubject: Login\n",
        "*Van:* Ines <ines@northwind.example>\n*Verzonden:* maandag\n*Aan:* Dana\n*Onderwerp:* Login\n",
        "Lähettäjä: Ines\nLähetetty: maanantai\nVastaanottaja: Dana <dana@acme.example>;\n Ben <ben@acme.example>\nAihe: Login\n",
        "差出人: Ines\n送信日時: 2025年3月3日\n宛先: Dana\n件名: Login\n",
        "От: Ines\nДата: 3 марта\nКому: Dana\nТема: Login\n",
        "---- Messaggio zzz ----\nDa: Ines\nInviato: lunedì\nA: Dana\nOggetto: Login\n",
    ] {
        let body = format!("Still broken.\n\n{header}\nIs it urgent?\n> Older.\nYours");
        is_new(&body, "Still broken.", &[HISTORY]);
    }
}

#[test]
fn lines_with_labels_that_are_no_mail_header_are_kept() {
    for text in
        ["Trip:\nFrom: Berlin\nTo: Malmö\nDate: 3 May\nIt shows no seats.", "Subject: Login\nFrom: Dana\nIt fails."]
    {
        is_new(text, text, &[]);
    }
}

#[test]
fn answers_between_and_below_quoted_lines_are_kept() {
    let body = "Hi,\n\nOn Mon, Mar 3, 2025 at 10:00 AM Ines <ines@northwind.example> wrote:\n> Which version?\n4.2\n> Which browser?\n>> urgent?\n\nAll of them.\n\n-- \nDana\nAcme\n";
    is_new(body, "Hi,\n\n4.2\n\nAll of them.", &[HISTORY, SIGNATURE]);
}

#[test]
fn forwards_are_kept_in_every_language_without_header_lines() {
    for marker in [
        "---------- Forwarded message ---------",
        "Begin forwarded message:",
        "-------- Weitergeleitete Nachricht --------",
        "---------- Message transféré ---------",
        "---------- Mensaje reenviado ---------",
        "---------- Messaggio inoltrato ---------",
        "---------- Mensagem encaminhada ---------",
        "---------- Doorgestuurd bericht ---------",
        "---------- Vidarebefordrat meddelande ---------",
        "---------- Videresendt besked ---------",
        "---------- Przekazana wiadomość ---------",
        "-------- Пересылаемое сообщение --------",
        "---------- 转发的邮件 ---------",
        "============ Forwarded message ============",
        "----- Forwarded by Ines/Northwind on 03.03.2025 10:00 -----",
    ] {
        let body = format!(
            "See below.\n\n{marker}\nFrom: Dana <dana@acme.example>\nDate: Mon, 3 Mar 2025\nSubject: Login\nTo: Ines\n\nThe login fails.\n\nOn Sun, 2 Mar 2025 Ines wrote:\n> urgent?"
        );
        for forwarded in [false, true] {
            let found = new_text(&body, forwarded);
            assert_eq!(found.text, "See below.\n\nThe login fails.", "{marker}");
            assert_eq!(found.left_out, [HISTORY], "{marker}");
        }
    }
}

#[test]
fn first_history_of_a_forward_is_kept_and_the_second_is_not() {
    let header = "From: Dana <dana@acme.example>\nSent: Monday\nTo: Ines\nSubject: Login\n";
    let body = format!("FYI\n\n{header}\nThe login fails.\n\n{header}\nurgent?");
    is_new_in_forward(&body, "FYI\n\nThe login fails.", &[HISTORY]);
    is_new(&body, "FYI", &[HISTORY]);
    is_new_in_forward("FYI\n\nOn 3 Mar 2025 Dana wrote:\n> It fails.\n>> urgent?", "FYI\n\nIt fails.", &[HISTORY]);
    is_new_in_forward("<p>FYI</p><blockquote type=cite>It fails.</blockquote>", "FYI\n\nIt fails.", &[]);
}

#[test]
fn mail_that_is_nothing_but_a_quote_counts_as_a_whole() {
    is_new("> It fails.\n> Always.", "> It fails.\n> Always.", &[]);
    is_new(
        "From: Dana\nDate: Monday\nSubject: Login\n\nIt fails.",
        "From: Dana\nDate: Monday\nSubject: Login\n\nIt fails.",
        &[],
    );
    let outlook = "<div id=appendonsend></div><hr><div id=divRplyFwdMsg><b>From:</b> Dana</div><div>It fails.</div>";
    assert!(new_text(outlook, false).text.ends_with("It fails."));
    is_new("", "", &[]);
    is_new("<div id=Signature>Dana</div>", "Dana", &[]);
}

#[test]
fn signatures_behind_a_separator_and_app_footers_are_left_out() {
    is_new("It fails.\n-- \nDana\nAcme Ltd.\nurgent deliveries\n", "It fails.", &[SIGNATURE]);
    for footer in [
        "Sent from my iPhone",
        "Get Outlook for iOS<https://aka.ms/o0ukef>",
        "Sent from Outlook for Android",
        "Von meinem iPhone gesendet",
        "Envoyé de mon iPhone",
        "Enviado desde mi iPhone",
        "Inviato da iPhone",
        "Verstuurd vanaf mijn iPhone",
        "Skickat från min iPhone",
        "Sendt fra min iPhone",
        "Wysłane z iPhone'a",
        "Отправлено с iPhone",
        "iPhoneから送信",
        "发自我的iPhone",
    ] {
        is_new(
            &format!("It fails.\n\n{footer}\n\nOn 3 Mar 2025 Ines wrote:\n> urgent?\nNo."),
            "It fails.\n\nNo.",
            &[SIGNATURE, HISTORY],
        );
    }
    is_new("Sent from my account the export is empty.", "Sent from my account the export is empty.", &[]);
    let html = r#"<p>It fails.</p><p><a href="https://aka.ms/o0ukef">Get Outlook for iOS</a></p>"#;
    is_new(html, "It fails.", &[SIGNATURE]);
}

#[test]
fn names_below_a_closing_line_are_left_out() {
    for closing in [
        "Best regards,",
        "Kind regards",
        "Mit freundlichen Grüßen",
        "Viele Grüße",
        "Cordialement,",
        "Saludos",
        "Med vänliga hälsningar",
        "Cordiali saluti",
        "Atenciosamente,",
        "Met vriendelijke groet,",
        "Pozdrawiam",
        "С уважением,",
        "よろしくお願いいたします。",
        "Thanks,",
        "Best regards, Dana",
        "It is slow. Best regards",
    ] {
        let body = format!(
            "It fails.\n\n{closing}\n\ni. A. Dana Chen\nHead of customer success\n\nAcme Ltd. | www.acme.example\n+46 40 123 456\n"
        );
        is_new(&body, &format!("It fails.\n\n{closing}"), &[SIGNATURE]);
    }
}

#[test]
fn text_and_postscripts_below_a_closing_line_are_kept() {
    for text in [
        "Thanks,\nit still fails after the update",
        "Thanks,\nThe export fails since Monday",
        "Thanks,\nDana asked me whether the export, which has been failing since the update last week, works again by now.",
        "Thanks\n1. Open the page\n2. Press export",
        "Best regards\n\nOne more thing, the export is broken too.",
    ] {
        is_new(text, text, &[]);
    }
    is_new("Hi.\nThanks,\nDana\n\nPS: urgent", "Hi.\nThanks,\n\nPS: urgent", &[SIGNATURE]);
    is_new("Hi.\nRegards\nDana\nP.S. It is urgent", "Hi.\nRegards\n\nP.S. It is urgent", &[SIGNATURE]);
    is_new("Hi.\n--\nDana\n\nPS: urgent\n\nAcme", "Hi.\n\nPS: urgent", &[SIGNATURE]);
    is_new(
        "Hi.\nRegards\nDana\n\nOne more thing, the export is broken.",
        "Hi.\nRegards\n\nOne more thing, the export is broken.",
        &[SIGNATURE],
    );
}

#[test]
fn legal_footers_are_left_out_in_many_languages() {
    for footer in [
        "This email and any attachments are confidential.",
        "This e-mail, including its\nattachments, is intended solely for the\naddressee and may be privileged.\nAct urgently.",
        "If you have received this message in error, please delete it.",
        "CONFIDENTIALITY NOTICE: The contents are privileged.",
        "Diese E-Mail enthält vertrauliche Informationen.",
        "Ce message et toutes les pièces jointes sont confidentiels.",
        "Este mensaje contiene información confidencial.",
        "Questo messaggio è riservato.",
        "Dit bericht is vertrouwelijk.",
        "To unsubscribe from this group, send an email to leave@northwind.example.",
        "You are receiving this email because you are a customer.",
    ] {
        is_new(&format!("It fails.\n\n{footer}"), "It fails.", &[DISCLAIMER]);
        is_new(
            &format!("It fails.\n\nKind regards\nDana\n\n{footer}"),
            "It fails.\n\nKind regards",
            &[SIGNATURE, DISCLAIMER],
        );
    }
    let own = "This message keeps coming: the export failed.\nTo unsubscribe the phone I pressed stop.";
    is_new(own, own, &[]);
}

#[test]
fn warnings_of_external_mail_are_left_out_and_the_text_right_below_is_kept() {
    for banner in [
        "CAUTION: This email originated from outside of the organization. Do not\nclick links or open attachments unless you know the sender.",
        "[EXTERNAL]",
        "ACHTUNG: Diese E-Mail stammt von außerhalb.",
        "You don't often get email from dana@acme.example. Learn why this is important",
    ] {
        is_new(&format!("{banner}\nIt fails."), "It fails.", &[DISCLAIMER]);
    }
}

#[test]
fn styles_and_scripts_never_appear() {
    let body = r#"<html><head><title>error</title><style>.error{color:red} div.gmail_quote{}</style><script>var error = "<div class='gmail_quote'>";</script></head><body><div class="error" title="error">Fine.</div><!-- <div class="gmail_quote"> error --><p>Really.</p></body></html>"#;
    let found = new_text(body, false);
    assert_eq!((found.text.contains("error"), found.left_out.len()), (false, 0), "{found:?}");
    assert!(found.text.contains("Fine.") && found.text.contains("Really."), "{found:?}");
}

#[test]
fn private_signs_in_a_mail_mean_nothing() {
    is_new("It\u{e010} fails\u{e016}.\nAlways.", "It fails.\nAlways.", &[]);
}

#[test]
fn kinds_have_their_words() {
    let words = [HISTORY, SIGNATURE, DISCLAIMER].map(LeftOut::as_str);
    assert_eq!(words, ["quoted_history", "signature", "disclaimer"]);
}

#[test]
fn every_prefix_of_an_answer_or_a_forward_is_stripped() {
    for (listed, answers) in [(phrases::ANSWERS, true), (phrases::FORWARDS, false)] {
        for prefix in listed.split(['/', '\n']).map(str::trim).filter(|prefix| !prefix.is_empty()) {
            let written = if prefix.len() == 1 { prefix.to_uppercase() } else { prefix.to_owned() };
            for subject in [format!("{written}: Login"), format!("{written} :Login"), format!("{written}：Login")] {
                let bare = bare_subject(&subject);
                assert_eq!(bare, BareSubject { text: "Login", answers, forwards: !answers }, "{subject}");
            }
        }
    }
    for subject in [
        "RE[2]: Login",
        "Re(2): Login",
        "Re^3: Login",
        " re:re: RE : Login ",
        "Re: [support] Re: Login",
        "[support] Re: Login",
    ] {
        assert_eq!(bare_subject(subject), BareSubject { text: "Login", answers: true, forwards: false }, "{subject}");
    }
}

#[test]
fn first_prefix_tells_what_the_mail_is() {
    let told = |subject| (bare_subject(subject).text, bare_subject(subject).answers, bare_subject(subject).forwards);
    assert_eq!(told("Re: Fwd: Login"), ("Login", true, false));
    assert_eq!(told("WG: AW: Login"), ("Login", false, true));
    assert_eq!(told("I: R: Login"), ("Login", false, true));
    assert_eq!(told("Re:"), ("", true, false));
    assert_eq!(told(""), ("", false, false));
}

#[test]
fn words_of_the_subject_stay() {
    for subject in [
        "Re-issue",
        "Regarding: x",
        "I: have",
        "r: broken",
        "Ref: 4711",
        "Resume: x",
        "[support] Login",
        "A: b",
        "Login Re: x",
        "Transfer: x",
        "Reply: x",
        "R2: x",
        "Vs the rest",
        "[Re: x",
    ] {
        assert_eq!(bare_subject(subject), BareSubject { text: subject, answers: false, forwards: false });
    }
    assert_eq!(bare_subject("Re: [support] Login").text, "[support] Login");
    assert_eq!(bare_subject("Re: Regarding: x").text, "Regarding: x");
}

#[test]
fn hostile_bodies_come_to_an_end() {
    for part in [
        "<div class=gmail_quote>",
        "<blockquote>",
        "<blockquote type=cite>x",
        "</div>",
        "<div><span>",
        ">",
        "> \n",
        "On \n",
        "On 2025:\n",
        "Thanks,\n",
        "this e-mail\n",
        "-----Original\n",
        "From: x\n",
        "To: @\n",
        "<!--",
        "<a ",
        "<div class=\"",
        "Begin forwarded message:\n",
        "-- \n",
        "PS\n",
        "> Begin forwarded message:\n",
        "CAUTION: This email\n",
        "<style>",
        "[a]",
        "---\n",
        "<div style=\"border-top:solid #E1E1E1\">",
    ] {
        let body = part.repeat(8_000 / part.len());
        for forwarded in [false, true] {
            let _ = new_text(&body, forwarded);
        }
        let _ = bare_subject(&body);
    }
}

proptest! {
    #[test]
    fn every_body_and_subject_is_read(text in "\\PC{0,200}", forwarded in any::<bool>()) {
        let _ = new_text(&text, forwarded);
        let bare = bare_subject(&text);
        prop_assert!(text.contains(bare.text) && !(bare.answers && bare.forwards));
    }

    #[test]
    fn text_has_no_words_that_the_mail_has_not(
        parts in prop::collection::vec(prop::sample::select(vec![
            "<div>", "</div>", "<div class=\"gmail_quote\">", "<blockquote type=cite>", "<blockquote>", "</blockquote>", "<div id=Signature>",
            "<div id=appendonsend>", "<div class=gmail_attr>", "<div class=moz-forward-container>", "<br>", "\n", "\n\n", "> ", ">> ",
            "On 3 Mar 2025 Dana wrote:", "Begin forwarded message:", "From: a@b.example", "Subject: x", "Date: y", "-- ", "Thanks,", "PS: z",
            "one two", "three", "<table><tr><td>", "</table>", "<p style='border-top:solid #E1E1E1'>", "<pre>", "<", "<!--", "-->", "&gt;", "é",
            "-----Original Message-----", "This e-mail is confidential.", "Sent from my iPhone", "<style>", "</style>",
        ]), 0..40),
        forwarded in any::<bool>(),
    ) {
        let body = parts.concat();
        let found = new_text(&body, forwarded);
        prop_assert!(!found.text.chars().any(|character| Mark::signed(character).is_some()));
        prop_assert!(found.left_out.len() <= 3);
        let whole = plain_text(&body.replace("<blockquote", "<div").replace("</blockquote", "</div"));
        let rendered = plain_text(&body);
        for word in found.text.split_whitespace().filter(|word| word.chars().all(char::is_alphanumeric)) {
            prop_assert!(whole.contains(word) || rendered.contains(word), "{word} is not in {whole}");
        }
    }
}

#[test]
fn what_people_read_keeps_signatures_and_footers_but_no_history() {
    let new =
        new_text("It is down.\n\nKind regards\nDana\nOrder 4711\n\nOn Mon, 2 Mar 2026, Ines wrote:\n> Hello", false);
    assert_eq!(new.text, "It is down.\n\nKind regards");
    assert_eq!(new.without_history, "It is down.\n\nKind regards\nDana\nOrder 4711");
}
