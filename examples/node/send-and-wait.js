// Put one message on the outbox and wait for its result.
//
//   npm install
//   AMQP_URL=amqp://guest:guest@localhost/ node send-and-wait.js anna@example.org
//
// Environment: AMQP_URL, OUTBOX (outbox), RESULTS (results), WAIT_SECONDS (30).
// Prints the result as JSON; exit status 0 when the message was accepted, 1 when it failed, 2 when no result came.

'use strict';

const { randomUUID } = require('node:crypto');
const amqplib = require('amqplib');

async function main(recipient) {
  const outbox = process.env.OUTBOX || 'outbox';
  const results = process.env.RESULTS || 'results';
  const waitSeconds = Number(process.env.WAIT_SECONDS || 30);
  const id = randomUUID(); // any property relayq does not know comes back in the result

  const connection = await amqplib.connect(process.env.AMQP_URL || 'amqp://guest:guest@localhost/');
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue(outbox, { durable: true });
  await channel.assertQueue(results, { durable: true });

  const message = {
    envelope: 'bounces@shop.example',
    recipient,
    mime: `From: Shop <news@shop.example>\r\nTo: ${recipient}\r\nSubject: Grüße aus Node\r\n\r\nHello from Node.\r\n`,
    'order-id': id,
  };

  const result = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no result within ${waitSeconds} s`)), waitSeconds * 1000);
    channel.consume(results, (delivery) => {
      if (delivery === null) return;
      const found = JSON.parse(delivery.content.toString('utf8'));
      if (found['order-id'] !== id) {
        channel.nack(delivery, false, true); // somebody else's
        return;
      }
      channel.ack(delivery);
      clearTimeout(timer);
      resolve(found);
    }).catch(reject);
  });

  channel.sendToQueue(outbox, Buffer.from(JSON.stringify(message)), { persistent: true });
  await channel.waitForConfirms();
  try {
    const found = await result;
    console.log(JSON.stringify(found, null, 2));
    process.exitCode = found.results.at(-1).result === 'accepted' ? 0 : 1;
  } catch (error) {
    console.error(error.message);
    process.exitCode = 2;
  }
  await channel.close();
  await connection.close();
}

main(process.argv[2] || 'anna@example.org').catch((error) => {
  console.error(error.message);
  process.exitCode = 2;
});
