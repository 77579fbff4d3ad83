// Takes mail for local parts that begin with "u" and writes each message to a file, octet for octet as it arrived
// but for the dots that SMTP adds. Refuses at every point of the dialogue, by name.
"use strict";

const fs = require("node:fs");
const path = require("node:path");

const folder = path.join(process.env.HARAKA, "mail");

exports.hook_mail = function (next, connection, [sender]) {
    if (sender.user === "refused") return next(DENY, "5.7.1 Sender not welcome");
    next();
};

exports.hook_rcpt = function (next, connection, [recipient]) {
    if (recipient.user === "u-later") return next(DENYSOFT, "4.2.0 Greylisted");
    if (recipient.user === "u-hang-up") return next(DENYSOFTDISCONNECT, "4.3.2 Too busy");
    if (connection.notes.auth_user || recipient.user.startsWith("u")) return next(OK);
    next(DENY, "5.1.1 No such user here");
};

exports.hook_data = function (next, connection) {
    if (connection.transaction.mail_from.user === "no-content") return next(DENYSOFT, "4.3.1 Disk full");
    next();
};

exports.hook_data_post = function (next, connection) {
    if (connection.transaction.header.get("Subject").includes("refused")) return next(DENY, "5.7.1 Looks like spam");
    next();
};

exports.hook_queue = exports.hook_queue_outbound = function (next, connection) {
    const { transaction } = connection;
    const unfinished = path.join(folder, `.${transaction.uuid}`);
    const file = fs.createWriteStream(unfinished);
    file.on("error", (error) => next(DENYSOFT, error.message));
    file.on("finish", () => {
        fs.renameSync(unfinished, path.join(folder, transaction.uuid));
        next(OK);
    });
    file.write(`X-Protocol: ${connection.tls.enabled ? "tls" : "clear"}; user=${connection.notes.auth_user || ""}; `);
    file.write(`method=${connection.notes.auth_method || ""}\r\n`);
    file.write(`X-From: ${transaction.mail_from.original}\r\nX-To: ${transaction.rcpt_to[0].original}\r\n`);
    transaction.message_stream.pipe(file, { line_endings: "\r\n", dot_stuffed: true, ending_dot: false });
};
