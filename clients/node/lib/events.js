// Events for the daemon: published after the commit.
import { randomUUID } from "node:crypto";

export const event = (type, data) =>
  JSON.stringify({ type, data, id: randomUUID(), time: new Date().toISOString() });

/** Publish to a channel: at most once. */
export const publish = (client, channel, type, data) => client.publish(channel, event(type, data));

/** Append to a stream: at least once. */
export function publishToStream(client, stream, type, data, { maxlen = 1_000_000 } = {}) {
  const words = ["XADD", stream, "MAXLEN", "~", String(maxlen), "*", "event", event(type, data)];
  if (typeof client.callBuffer === "function") return client.call(...words);
  return Array.isArray(client.masters) ? client.sendCommand(stream, false, words) : client.sendCommand(words);
}
