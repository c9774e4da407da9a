/** A model is named by its role ("actor") and the replica of it in one layout. */
export interface ModelName {
  readonly role: string;
  readonly replicaId: number;
}

/** `actor` → `{role: 'actor', replicaId: 0}`. */
export function modelName(role: string, replicaId = 0): ModelName {
  return { role, replicaId };
}

/** A string key for maps: `actor@0`. */
export function modelKey(name: ModelName): string {
  return `${name.role}@${name.replicaId}`;
}
