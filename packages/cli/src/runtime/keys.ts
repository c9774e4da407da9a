/**
 * The key of a run: one CURVE key pair that master and workers share and nobody else knows. The public half is secret
 * too: without it no handshake with the run's sockets succeeds, which is what keeps strangers out. It travels to
 * workers in an environment variable, never on a command line.
 */
import { ConfigError } from '@realhf/api';
import { curveKeyPair } from 'zeromq';

/** Environment variable of a worker process with the run's keys. */
export const keysVariable = 'REAL_RUN_KEYS';

export interface RunKeys {
  readonly publicKey: string;
  readonly secretKey: string;
}

/** New ones for every start of a run. */
export function makeRunKeys(): RunKeys {
  return curveKeyPair();
}

/** As one string: 80 printable characters. */
export function formatRunKeys(keys: RunKeys): string {
  return keys.publicKey + keys.secretKey;
}

/** Throws ConfigError where `text` is not of `formatRunKeys`. */
export function parseRunKeys(text: string | undefined): RunKeys {
  if (text?.length !== 80)
    throw new ConfigError(
      `a worker needs ${keysVariable} of 80 characters, found ${text?.length ?? 'none'}; workers are started by a run, not by hand`,
    );
  return { publicKey: text.slice(0, 40), secretKey: text.slice(40) };
}

/** Options of a socket that binds. */
export function serverOptions(keys: RunKeys): { curveServer: true; curveSecretKey: string } {
  return { curveServer: true, curveSecretKey: keys.secretKey };
}

/** Options of a socket that connects; its own identity is thrown away with it. */
export function clientOptions(keys: RunKeys): {
  curveServerKey: string;
  curvePublicKey: string;
  curveSecretKey: string;
} {
  const own = curveKeyPair();
  return {
    curveServerKey: keys.publicKey,
    curvePublicKey: own.publicKey,
    curveSecretKey: own.secretKey,
  };
}
