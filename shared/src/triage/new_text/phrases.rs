//! The words by which history, forwards, signatures and legal footers are known: data, no rules.
//!
//! By language, phrases parted by `/` or a line; a blank stands for any blanks. They are what Gmail, Outlook, Apple
//! Mail, Thunderbird, Yahoo, Samsung's and QQ's clients write in their languages, and what people and companies close
//! with.

/// What stands between dashes, or before a colon, above a forwarded mail.
pub(super) const FORWARDED: &str = "
    forwarded message / begin forwarded message / forwarded e-mail / forwarded mail / forwarded email
    weitergeleitete nachricht / anfang der weitergeleiteten nachricht / anfang der weitergeleiteten e-mail
    message transféré / début du message transféré / message réexpédié / début du message réexpédié
    courriel transféré
    mensaje reenviado / inicio del mensaje reenviado / missatge reenviat
    messaggio inoltrato / inizio messaggio inoltrato / inizio del messaggio inoltrato
    mensagem encaminhada / mensagem reencaminhada / início da mensagem encaminhada / início da mensagem reencaminhada
    doorgestuurd bericht / begin doorgestuurd bericht / begin van doorgestuurd bericht
    vidarebefordrat meddelande / vidarebefordrat mejl / vidarebefordrat brev / vidarebefordrat mail
    videresendt besked / videresendt meddelelse / start på videresendt besked / begyndelse på videresendt besked
    videresendt melding / videresendt e-post / start på videresendt melding / begynnelse på videresendt melding
    välitetty viesti / edelleenlähetetty viesti / välitetty viesti alkaa
    przekazana wiadomość / wiadomość przekazana / przesłana wiadomość / początek przekazywanej wiadomości
    přeposlaná zpráva / začátek přeposlané zprávy / předaná zpráva / preposlaná správa
    továbbított üzenet / továbbított levél / mesaj redirecționat / mesaj redirecţionat
    iletilen mesaj / yönlendirilen mesaj / iletilmiş mesaj / iletilen ileti
    пересылаемое сообщение / пересылаемое письмо / пересланное сообщение / пересланное письмо
    начало переадресованного сообщения / начало пересылаемого сообщения / переадресованное сообщение
    переслане повідомлення / початок переадресованого повідомлення / προωθημένο μήνυμα / препратено съобщение
    转发的邮件 / 转发邮件 / 已转发邮件 / 转发邮件信息 / 下面是被转发的邮件 / 轉寄郵件 / 轉寄的郵件 / 以下是轉寄的郵件
    転送されたメッセージ / 転送メッセージ / 転送メール / 以下は転送されたメッセージです / 전달된 메시지 / 전달된 메일
    הודעה שהועברה / رسالة محولة / رسالة معاد توجيهها / thư được chuyển tiếp / pesan yang diteruskan";

/// What stands between dashes above an answered mail.
pub(super) const ORIGINAL: &str = "
    original message / original appointment / original e-mail / original email / reply message / previous message
    ursprüngliche nachricht / originalnachricht / original-nachricht / ursprünglicher termin
    message d'origine / message d’origine / message original / message initial / mensaje original / missatge original
    messaggio originale / mensagem original / oorspronkelijk bericht / origineel bericht
    ursprungligt meddelande / originalmeddelande / ursprungligt mejl / oprindelig meddelelse / original meddelelse
    oprindelig besked / opprinnelig melding / original melding / alkuperäinen viesti
    wiadomość oryginalna / oryginalna wiadomość / původní zpráva / pôvodná správa / eredeti üzenet / mesaj original
    mesajul original / özgün ileti / orijinal mesaj / orijinal ileti / исходное сообщение / оригинальное сообщение
    исходное письмо / вихідне повідомлення / оригінальне повідомлення / αρχικό μήνυμα / оригинално съобщение
    原始邮件 / 原始郵件 / 邮件原件 / 原邮件 / 元のメッセージ / オリジナルメッセージ / 원본 메시지 / 원본 메일
    הודעה מקורית / الرسالة الأصلية / thư gốc / pesan asli";

/// How a line says that somebody wrote what follows.
pub(super) const WROTE: &str = "
    wrote / writes / schrieb / schrieb am / hat geschrieben / a écrit / escribió / va escriure / ha scritto / escreveu
    schreef / het volgende geschreven / skrev / skrev följande / kirjoitti / pisze / napisał / napisał(a) / napisała
    napsal / napsal(a) / napsala / napísal / napísal(a) / je napisao / je napisal / írta / ezt írta / a scris / yazdı
    şunu yazdı / пишет / написал / написала / написал(а) / пише / написав / написа / έγραψε / כתב / كتب / đã viết
    menulis
    kirjutas / rakstīja / rašė";

/// The same in writing without blanks between words.
pub(super) const WROTE_UNPARTED: &str = "のメール / 書きました / 書いた / 写道 / 寫道 / 작성 / 님이 작성 / 썼습니다";

/// How such lines begin.
pub(super) const WROTE_OPENINGS: &str = "
    on / am / le / el / il / em / op / den / på / w dniu / dnia / dne / dňa / pe / în / στις / vào / pada / a / no dia
    בתאריך / في";

/// The names of the header lines above a mail, by what they tell: who wrote it.
pub(super) const FROM: &str = "
    from / von / de / da / van / från / fra / lähettäjä / od / odesílatel / feladó / kimden / gönderen / от / від
    από
    expéditeur / remitente / mittente / remetente / afzender / avsändare / afsender / avsender / nadawca / expeditor
    отправитель
    发件人 / 寄件者 / 寄件人 / 差出人 / 送信者 / 보낸 사람 / 보낸사람 / מאת / من / từ / dari";

/// When it was sent.
pub(super) const WHEN: &str = "
    sent / date / gesendet / datum / gesendet am / envoyé / envoyé le / date d'envoi / enviado / enviado el / fecha
    inviato / data / enviada em / enviado em / enviada / verzonden / skickat / sendt / dato / lähetetty / päiväys
    pvm
    wysłano / wysłane / odesláno / odoslané / dátum / elküldve / küldve / trimis / gönderildi / gönderilme tarihi
    tarih
    отправлено / дата / дата отправки / надіслано / στάλθηκε / ημερομηνία / изпратено / data wysłania
    发送时间 / 时间 / 日期 / 寄件日期 / 傳送時間 / 送信日時 / 日時 / 日付 / 보낸 날짜 / 날짜 / נשלח / תאריך / تاريخ الإرسال
    التاريخ / ngày / tanggal / dikirim";

/// To whom, and how it is marked.
pub(super) const TO: &str = "
    to / cc / bcc / an / kopie / kopie an / à / a / destinataire / para / cc / destinatario / per / aan / til / till
    kopia / kopi
    vastaanottaja / kopio / do / dw / komu / kopie / címzett / másolatot kap / către / kime / alıcı / bilgi / кому
    копия
    копія / προς / κοιν / до / reply-to / antwort an / répondre à
    importance / priority / attachments / wichtigkeit / anlagen / priorität / pièces jointes / importancia
    prioridad / bijlagen
    收件人 / 收件者 / 抄送 / 副本 / 宛先 / 받는 사람 / 받는사람 / 참조 / אל / עותק / إلى / نسخة / đến / kepada";

/// What it is about.
pub(super) const SUBJECT: &str = "
    subject / betreff / objet / asunto / oggetto / assunto / onderwerp / ämne / emne / aihe / temat / předmět
    predmet
    tárgy / subiect / konu / тема / θέμα / assumpte / naslov / относно / 主题 / 主旨 / 件名 / 제목 / נושא / الموضوع
    chủ đề / perihal / subjek";

/// How telephones and apps sign, whatever follows.
pub(super) const APP_FOOTERS: &str = "
    sent from my / sent from outlook / sent from mail for / sent from yahoo / sent from proton / sent from samsung
    sent from a mobile / sent from mobile / sent via / sent using / get outlook for / sent with proton
    sent from gmail
    von meinem iphone gesendet / von meinem ipad gesendet / von meinem mobiltelefon / gesendet von meinem
    von meinem handy
    gesendet von outlook / gesendet von mail für / holen sie sich outlook / outlook für ios / outlook für android
    diese nachricht wurde von meinem android / gesendet mit der / gesendet mit proton / von meinem samsung
    envoyé de mon / envoyé depuis mon / envoyé à partir de / envoyé depuis / télécharger outlook / obtenez outlook
    enviado desde mi / enviado desde outlook / enviado desde mail / obtener outlook / enviado con proton
    enviado do meu
    enviado de meu / enviado a partir do / obter o outlook / enviado via / inviato da iphone / inviato dal mio
    inviato da ipad
    inviato da outlook / inviato da posta / ottieni outlook / scarica outlook / verzonden vanaf mijn
    verstuurd vanaf mijn
    verstuurd vanaf / verzonden met / outlook voor ios downloaden / download outlook voor / skickat från min
    skickat från outlook
    hämta outlook / sendt fra min / sendt fra outlook / hent outlook / få outlook / lähetetty iphonesta
    lähetetty puhelimesta
    hanki outlook / wysłane z iphone'a / wysłane z iphone / wysłano z / wysłane z / pobierz outlook / odesláno z
    získat outlook
    iphone'umdan gönderildi / iphone'dan gönderildi / отправлено с / отправлено из / надіслано з";

/// The same in writing without blanks between words.
pub(super) const APP_FOOTERS_UNPARTED: &str = "
    iphoneから送信 / ipadから送信 / 发自我的 / 從我的 iphone 傳送 / 나의 iphone에서 보냄 / iphone에서 보냄";

/// What closes a mail and nothing else.
pub(super) const CLOSINGS: &str = "
    best regards / kind regards / kindest regards / warm regards / warmest regards / regards / with best regards
    best wishes
    with kind regards / many regards / all the best / best / yours sincerely / sincerely / sincerely yours
    yours faithfully
    yours truly / respectfully / cordially / cheers / thanks and regards / thanks and best regards
    thanks & regards / br / rgds
    mit freundlichen grüßen / mit freundlichen grüssen / mit freundlichem gruß / mit freundlichem gruss
    freundliche grüße
    freundliche grüsse / viele grüße / viele grüsse / viele liebe grüße / beste grüße / beste grüsse / liebe grüße
    liebe grüsse
    herzliche grüße / schöne grüße / lieben gruß / gruß / grüße / mfg / lg / vg / hochachtungsvoll
    mit besten grüßen / besten gruß / cordialement / bien cordialement / bien à vous / très cordialement
    sincères salutations
    salutations / meilleures salutations / bonne journée / bonne réception / respectueusement / amicalement
    saludos / un saludo / saludos cordiales / un cordial saludo / cordiales saludos / atentamente / muchos saludos
    atte
    cordiali saluti / distinti saluti / saluti / un saluto / un cordiale saluto / buona giornata
    atenciosamente / cumprimentos / com os melhores cumprimentos / melhores cumprimentos / abraços / att / abraço
    met vriendelijke groet / met vriendelijke groeten / vriendelijke groet / vriendelijke groeten / groeten / groet
    mvg
    hartelijke groet / hartelijke groeten / med vänliga hälsningar / med vänlig hälsning / vänliga hälsningar
    vänlig hälsning
    hälsningar / bästa hälsningar / mvh / med venlig hilsen / venlig hilsen / de bedste hilsner / bedste hilsner
    hilsen
    med vennlig hilsen / vennlig hilsen / beste hilsen / ystävällisin terveisin / terveisin / parhain terveisin
    pozdrawiam / z poważaniem / z wyrazami szacunku / serdecznie pozdrawiam / pozdrowienia / s pozdravem / s úctou
    zdravím
    üdvözlettel / tisztelettel / cu stimă / cu respect / toate cele bune / saygılarımla / iyi çalışmalar / saygılar
    sevgiler
    с уважением / с наилучшими пожеланиями / всего доброго / з повагою / με εκτίμηση / φιλικά / с уважение / поздрави
    よろしくお願いいたします / よろしくお願いします / 宜しくお願い致します / よろしくお願い致します / 以上 / 此致 / 敬礼 / 祝好 / 顺祝商祺 / 谨启
    감사합니다 / בברכה / مع أطيب التحيات / مع خالص التحية / trân trọng / salam / hormat saya";

/// What closes a mail, and as often begins a sentence.
pub(super) const THANKS: &str = "
    thanks / thank you / many thanks / thanks a lot / thanks in advance / thank you in advance / thx / ta
    thank you very much
    thanks so much / thank you so much / danke / vielen dank / danke im voraus / vielen dank im voraus / besten dank
    merci
    merci d'avance / merci beaucoup / gracias / muchas gracias / gracias de antemano / grazie / grazie mille
    obrigado / obrigada
    bedankt / dank u / alvast bedankt / dank je wel / tack / tack på förhand / takk / på forhånd takk / tak
    på forhånd tak
    kiitos / kiitos etukäteen / dziękuję / z góry dziękuję / děkuji / díky / köszönöm / mulțumesc / teşekkürler
    teşekkür ederim / спасибо / заранее спасибо / дякую / ευχαριστώ / ありがとうございます / 谢谢 / 謝謝 / תודה / شكرا";

/// How a paragraph begins that lawyers wrote; it is one only if a word of [`SECRECY`] follows.
pub(super) const LEGAL_OPENINGS: &str = "
    this e-mail / this email / this message / this communication / this transmission / this electronic
    the information
    the contents of this / the content of this / any views / confidentiality / disclaimer / legal notice / notice:
    privileged / confidential / if you have received / if you received / if you are not the / important notice
    diese e-mail / diese email / diese mail / diese nachricht / der inhalt dieser / die information / dieses e-mail
    vertraulich
    haftungsausschluss / ce message / ce courriel / cet e-mail / ce mail / les informations / si vous avez reçu
    si vous n'êtes
    este mensaje / este correo / esta comunicación / la información contenida / si usted no es / si ha recibido
    aviso
    esta mensagem / este e-mail / este email / as informações / se você recebeu / questo messaggio / questa e-mail
    questa email
    le informazioni / il presente messaggio / la presente e-mail / avviso / dit bericht / deze e-mail
    de informatie / dit e-mail
    detta meddelande / det här meddelandet / detta e-post / detta mejl / denne e-mail / denne meddelelse
    denne mail / denne e-post
    denne meldingen / tämä viesti / tämä sähköposti / niniejsza wiadomość / ta wiadomość / informacje zawarte
    tento e-mail
    tato zpráva / ez az e-mail / ez az üzenet / acest mesaj / bu e-posta / bu mesaj / это сообщение / данное сообщение
    настоящее сообщение / данное письмо / это письмо / информация, содержащаяся / це повідомлення / 本邮件 / 此邮件 / 本電子郵件
    このメール / 本メール / 본 메일 / 이 메일";

/// Parts of words that such a paragraph cannot do without.
pub(super) const SECRECY: &str = "
    confidential / privileged / intended only / intended solely / intended for the / intended recipient / in error
    legally binding / viruses / views expressed / opinions expressed / vertraulich / rechtlich geschützt / irrtümlich
    bestimmte empfänger / confidentiel / par erreur / exclusif / confidencial / por error / por engano / por erro
    destinado exclusiv
    riservat / per errore / confidenzial / vertrouwelijk / uitsluitend bestemd / konfidenti / av misstag / fortrolig
    ved en feil
    ved en fejl / luottamuksel / poufn / důvěrn / dôvern / bizalmas / confidențial / gizli / конфиденциальн
    конфіденційн
    保密 / 机密 / 機密 / 기밀";

/// How lines begin that warn of mail from outside, and that ask for trees to be spared: each is nothing else.
pub(super) const BANNERS: &str = "
    caution: this e-mail / caution: this email / caution: this message / caution: external / caution: the sender
    warning: this e-mail / warning: this email / warning: this message / warning: external / external e-mail:
    external email:
    external sender / this e-mail originated from outside / this email originated from outside
    this message originated from outside / this message came from outside / this email came from outside
    this email was sent from outside / this is an external email / attention: this email / exercise caution:
    you don't often get email from / you don’t often get email from
    some people who received this message don't often
    some people who received this message don’t often / do not click links or open / do not click on links or open
    achtung: diese e-mail / achtung: externe / vorsicht: diese e-mail / vorsicht: externe / externe e-mail
    warnung: diese e-mail
    diese e-mail stammt von außerhalb / diese e-mail kommt von außerhalb / sie erhalten nicht oft e-mails von
    sie erhalten nicht häufig e-mails von / attention: ce message / attention : ce message
    attention: courriel externe
    attention : courriel externe / vous n'obtenez pas souvent d'e-mail / precaución: este correo
    atención: este correo
    attenzione: questa e-mail / attenzione: questa email / atenção: este e-mail / let op: deze e-mail
    let op: externe
    varning: detta / obs! externt / advarsel: denne / uwaga: ta wiadomość
    please consider the environment before printing
    think before you print / think before printing / bitte denken sie an die umwelt / pensez à l'environnement avant";

/// How footers of newsletters and groups begin.
pub(super) const SUBSCRIPTIONS: &str = "
    to unsubscribe from / to unsubscribe, / to unsubscribe click / to unsubscribe: / unsubscribe / unsubscribe here
    you are receiving this / you're receiving this / you received this message because
    you received this email because
    to stop receiving / to manage your subscription / manage your preferences / update your preferences
    view in browser
    sie erhalten diese / du erhältst diese / um sich abzumelden / um sich von / newsletter abbestellen / abmelden
    vous recevez cet / vous recevez ce / pour vous désabonner / pour vous désinscrire / se désabonner / se désinscrire
    recibes este / ha recibido este / para darse de baja / darse de baja / cancelar suscripción / você está recebendo
    para cancelar / ricevi questa / hai ricevuto questa / per annullare l'iscrizione / annulla iscrizione
    je ontvangt deze
    u ontvangt deze / om je af te melden / uitschrijven / afmelden / du får det här / du får detta / avregistrera
    avsluta prenumeration
    du modtager denne / afmeld / du mottar denne / avmeld / peruuta tilaus / otrzymujesz tę / wypisz się
    odhlásit odběr
    вы получили это / отписаться / 退订 / 配信停止 / 수신거부";

/// What stands before a colon in the subject of an answer: what Outlook and others write in their languages
/// (<https://en.wikipedia.org/wiki/List_of_email_subject_abbreviations>). `VS` is a forward in Danish and
/// Norwegian and an answer in Finnish: answers are the more frequent.
pub(super) const ANSWERS: &str = "
    re / aw / antw / antwort / sv / vs / odp / ynt / atb / res / resp / ref / rif / réf / rép / vá / odg / ats / r
    отв / на / отг / одг / відп / απ / σχετ / השב / رد / bls / răsp / rasp
    回复 / 答复 / 回覆 / 答覆 / 返信 / 답장 / 회신 / ｒｅ";

/// The same for forwards.
pub(super) const FORWARDS: &str = "
    fwd / fw / wg / doorst / rv / enc / tr / vb / vl / pd / i / ilt / İlt / yml / trs / prosl / posr / pārs
    továbbítás / redir / пересл / пересылка / преп / переслано / πρθ / הועבר / إعادة توجيه
    转发 / 轉寄 / 轉發 / 転送 / 전달 / ｆｗ / ｆｗｄ";
