// SPDX-License-Identifier: Apache-2.0
// A server and its clients in one process, over kept connections.
'use strict';
const http = require('http');
const crypto = require('crypto');

const ROUNDS = 500, CLIENTS = 4;
const server = http.createServer((request, response) => {
  const hash = crypto.createHash('sha256').update(request.url).digest('hex');
  setTimeout(() => response.end(hash.repeat(200)), 4);
});
const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });

function get(path) {
  return new Promise((resolve, reject) => {
    http.get({ port: server.address().port, host: '127.0.0.1', path, agent }, (response) => {
      const parts = [];
      response.on('data', (data) => parts.push(data));
      response.on('end', () => resolve(Buffer.concat(parts)));
    }).on('error', reject);
  });
}

async function client(number) {
  const digest = crypto.createHash('sha256');
  for (let i = 0; i < ROUNDS; i++) {
    const body = await get(`/${number}/${i}`);
    digest.update(await new Promise((resolve, reject) =>
      crypto.pbkdf2(body, 'salt', 300, 32, 'sha256', (e, key) => (e ? reject(e) : resolve(key)))));
  }
  return digest.digest('hex');
}

server.listen(0, '127.0.0.1', async () => {
  const sums = await Promise.all(Array.from({ length: CLIENTS }, (_, n) => client(n)));
  console.log(sums.join('\n'));
  agent.destroy();
  server.close();
});
