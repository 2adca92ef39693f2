// Types of the page's data, for `tsc` alone: nothing here is served (deploy/dev/page/check.sh).
// Those of the receiver's answers follow receiver/api/openapi.json, with the members that the
// page reads.

type Lang = "fr" | "en";
/** Latitude and longitude in degrees. */
type Position = [latitude: number, longitude: number];
/** Pixels or parts of a picture. */
type Point = [x: number, y: number];
/** A label in both languages. */
type Labels = Record<Lang, string>;

// --- What the receiver answers

interface Operator {
  name: string;
  number: string;
  unit: string;
}

/** Why something is as it is; `reason` is a code of deploy/reference/reasons.md. */
interface Why {
  reason: string | null;
  detail?: string | null;
}

interface GrantedCamera extends Why {
  camera: string;
  name?: string | null;
  state: "starting" | "live" | "late" | "retrying" | "failed" | "ended";
  profile: "main" | "sub";
  profile_cause: string | null;
  rtsp: string | null;
}

interface RefusedCamera {
  camera: string;
  reason?: string;
  detail?: string;
}

interface Grant {
  grant: string;
  commune: string;
  incident: string;
  grounds: string;
  operator: Operator;
  /** Who else is present, as the newest request names them. */
  present?: string[];
  /** When it first began; RFC 3339. */
  start?: string;
  /** RFC 3339, as the gateway signed it. */
  expires: string;
  granted: GrantedCamera[];
  refused: RefusedCamera[];
  proof: string;
  ended?: { reason: string; detail: string; at: string; by?: Operator | null };
}

/** A request that waits for its commune's approval. */
interface Waiting {
  grant?: undefined;
  request: string;
  /** RFC 3339; null while the gateway has not answered. */
  approve_by: string | null;
}

interface Agreement {
  grounds: Grounds[];
  /** Seconds. */
  max_duration?: number;
  snapshots?: boolean;
  /** Whether pictures and stills name who watches. */
  watermark?: boolean;
  /** Whether a person at the commune approves each request. */
  approval?: boolean;
  /** Ids of grounds that need none all the same. */
  approval_exempt?: string[];
}

/** A motive of a request, with its labels. */
type Grounds = Labels & { id: string };

interface Commune {
  commune: string;
  name: string;
  online: boolean;
  since: string | null;
  /** Seconds that its clock is ahead of the centre's. */
  clock_offset: number | null;
  contact: string | null;
  /** One of the unit's. */
  agreement: Agreement | null;
  /** All of the unit's. */
  agreements?: Agreement[];
}

interface CameraAnswer {
  commune: string;
  commune_name: string;
  camera: string;
  name: string;
  online: boolean;
  position?: Position | null;
  bearing?: number | null;
  field_of_view?: number | null;
  sub?: boolean;
  unusable?: { reason: string; since?: string; until?: string | null };
  /** Why it failed its newest probe. */
  failed?: { reason: string };
  /** Metres and degrees from north, from the camera whose neighbours are asked for. */
  distance?: number;
  direction?: number;
}

interface Place {
  label: string;
  position: Position;
}

interface TileSource {
  min_zoom: number;
  max_zoom: number;
  attribution: string;
}

/** `GET console`. */
interface ConsoleSettings {
  mode: "receiver" | "local" | "demo";
  centre: string;
  /** Where the commune's gateway serves the page. */
  commune?: string;
  name: string;
  /** Seconds. */
  lock_after?: number;
  designations?: boolean;
  places?: boolean;
  tiles?: TileSource | null;
}

// --- What the commune's gateway answers (interfaces.md 10)

interface CommuneRelay extends Why {
  grant: string;
  camera: string;
  name: string;
  centre: string;
  operator: Operator;
  incident: string;
  grounds: string;
  grounds_fr: string;
  grounds_en: string;
  since: string;
  until: string;
  state: string;
}

interface CommuneWaiting {
  request: string;
  centre: string;
  operator: Operator;
  incident: string;
  grounds: string;
  grounds_fr: string;
  grounds_en: string;
  present: string[];
  cameras: string[];
  refused: RefusedCamera[];
  /** Seconds. */
  duration: number;
  renews?: string;
  agreement: string;
  approve_by: string;
}

interface CommuneLink {
  centre: string;
  up: boolean;
  transport: string | null;
}

/** The event `state`. */
interface CommuneView {
  relays: CommuneRelay[];
  left_out: number;
  waiting: CommuneWaiting[];
  cuts: { scope: string; until: string }[];
  links: CommuneLink[];
}

interface CommuneHealth {
  checks: { name: string; state: "ok" | "warning" | "failed"; detail?: string; remedy?: string }[];
  links: CommuneLink[];
  cameras: { camera: string; name: string; state: string; detail?: string }[];
  since: string;
  ungranted_bytes: number;
}

interface JournalRow {
  seq: number;
  time: string;
  kind: string;
  incident?: string;
  cameras?: string[];
  /** The entry as it is recorded; its members depend on the kind. */
  body: any;
}

interface JournalTable {
  months: string[];
  entries: JournalRow[];
  left_out: number;
}

interface SnapshotRecord {
  snapshot: string;
}

interface ProblemDocument {
  status: number;
  reason?: string;
  title?: string;
  title_fr?: string;
  detail?: string;
  cameras?: RefusedCamera[];
}

// --- What the page knows

/** A camera with the name that it has everywhere in the page. */
interface Camera extends CameraAnswer {
  /** `COMMUNE/CAMERA`. */
  key: string;
}

/** Values of `{name}` in a sentence (core/text.js). */
type TextParams = Record<string, unknown> & { n?: number };

/** A sentence by its key. */
interface Sentence {
  key: string;
  params?: TextParams;
}

type Level = "info" | "warn" | "bad";

interface Note extends Sentence {
  level: Level;
  /** ms; missing: now. */
  at?: number;
}

/** A line of an intervention's history; `at` in ms. */
interface HistoryLine extends Note {
  at: number;
}

interface Toast extends Sentence {
  level?: Level;
  detail?: string;
  /** Details in English, folded. */
  english?: string;
}

/** A marked span; times in ms. */
interface Bookmark {
  id: string;
  camera: string;
  name: string;
  commune: string;
  from: number;
  to: number;
  note: string;
  open: boolean;
  clockOffset: number | "";
  grant: string;
  operator: Operator;
  /** Whether the centre has it not yet. */
  pending: boolean;
}

// --- The record of an intervention at the centre

/** `GET incidents`. */
interface RecordSummary {
  incident: string;
  state: "open" | "closed";
  opened: string;
  closed: string | null;
  closed_by: Operator | null;
  /** Until when it is kept; null while a grant lives. */
  until: string | null;
  grounds: string[];
  live: number;
}

interface RecordRow extends RecordSummary {
  notes: number;
  bookmarks: number;
}

interface RecordNote {
  id: string;
  operator: Operator;
  at: string;
  changed_by?: Operator | null;
  text: string | null;
  salt?: string | null;
  digest: string | null;
  text_lost: boolean;
  withdrawn: boolean;
}

interface RecordBookmark extends RecordNote {
  grant: string;
  camera: string;
  from: string;
  to: string | null;
  clock_offset: number | null;
}

/** `GET incidents/{reference}`. */
interface KeptRecord extends RecordSummary {
  journal: string | null;
  notes: RecordNote[];
  bookmarks: RecordBookmark[];
  history: RecordLine[];
  left_out: number;
}

interface RecordLineHead {
  seq: number;
  time: string;
}

interface Asked extends RecordLineHead {
  request: string;
  asked: string;
  commune: string;
  operator: Operator;
  grounds: string;
  present: string[];
  cameras: string[];
}

interface Granted extends Asked {
  kind: "granted";
  grant: string;
  refused: { camera: string; reason: string }[];
  renewal: boolean;
  start: string;
  expires: string;
  agreement: string;
  proof: string;
}

/** A line of the centre's journal; of the kinds that the page knows. */
type RecordLine =
  | Granted
  | (Asked & { kind: "refused"; renews?: string; reason: string; detail: string })
  | (RecordLineHead &
      (
        | { kind: "opened" | "closed"; operator: Operator }
        | { kind: "resumed" | "viewings_confirmed"; grant: string }
        | { kind: "ended"; grant: string; reason: string; at: string; by?: string }
        | { kind: "viewing_started"; grant: string; commune: string; camera: string; who: string; how: string }
        | {
            kind: "viewing_ended";
            start: number;
            grant: string;
            at: string;
            reason?: string;
            taken_over_by?: string;
          }
        | {
            kind: "still";
            snapshot: string;
            grant: string;
            commune: string;
            camera: string;
            captured: string;
            operator: Operator;
            sha256?: string;
          }
        | { kind: "still_refused"; snapshot: string; grant: string; reason: string }
        | { kind: "mark"; mark: string; bookmark: boolean; operator: Operator; at: string; withdrawn: boolean }
      ));

/** What somebody wrote and the centre has not taken yet; `since` in ms. */
interface Unsent {
  ref: string;
  kind: "state" | "notes" | "bookmarks";
  id: string | null;
  /** null: it is withdrawn. */
  body: object | null;
  operator: Operator;
  since: number;
}

/** What outlives a reload. */
interface KeptIncident {
  ref: string;
  /** The id of those in use; `groundsLabel` (state/names.js) has its words. */
  grounds: string;
  /** Ids of all grounds that were asked under, those in use among them. */
  allGrounds: string[];
  present: string[];
  at: Position | null;
  /** The address of `at`, where it is known. */
  place: string | null;
  openedAt: number;
  closedAt: number | null;
  /** Seconds to ask for; null: the default. */
  duration: number | null;
  history: HistoryLine[];
  /** Opened or carried on at this desk; others are the unit's. */
  mine: boolean;
}

interface Incident extends KeptIncident {
  /** Keys of the cameras in the mosaic, in its order. */
  cameras: string[];
  /** Ids of its grants, also of those that ended. */
  grants: Set<string>;
  /** Why cameras were refused, by key. */
  refusals: Map<string, Why & { at: number }>;
  /** Keys taken out of the mosaic though a grant goes on. */
  removed: Set<string>;
  /** Keys that are on each page of the mosaic. */
  pinned: Set<string>;
  /** Grants that this page asked for: a player may use others. */
  asked: Set<string>;
  /** The mosaic's order before another person took the seat. */
  order: string[];
}

/** A request that waits, as the page keeps it. */
interface Approval {
  request: string;
  commune: string;
  approve_by: string | null;
  incident: string;
  cameras: string[];
}

/** Who is signed in; `notAfter` in ms. */
interface Me extends Operator {
  notAfter: number;
  mode: "receiver" | "local" | "demo";
  /** The key's thumbprint, where the browser holds it. */
  person?: string;
}

interface RequestClaims {
  aud: string;
  cameras: string[];
  grounds: string;
  incident: string;
  duration: number;
  profile: "auto" | "sub";
  present: string[];
  renews?: string;
}

/** What a person at the commune decides, but `jti`, `iat` and `aud`. */
type DecisionClaims =
  | { request: string; decision: "approve" | "refuse" }
  | { scope: string; block: number; decision: "cut" }
  | { scope: string; decision: "allow" };

interface Token {
  token: string;
  /** ms of the centre's time. */
  expires: number;
}

interface Signer {
  me: Me;
  token(): Promise<Token>;
  /** The signed statement of a request. */
  request(asked: RequestClaims): Promise<string>;
  /** The signed statement of a decision. */
  decision(decided: DecisionClaims): Promise<string>;
}

/** Values of the store. */
interface PageState {
  lang: Lang;
  theme: "dark" | "light";
  locked: boolean;
  online: "connecting" | "online" | "offline";
  offlineBecause: import("/page/core/api.js").Problem | null;
  me: Me | null;
  console: ConsoleSettings | null;
  communes: Map<string, Commune>;
  /** By key. */
  cameras: Map<string, Camera>;
  grants: Map<string, Grant>;
  approvals: Map<string, Approval>;
  incidents: Map<string, Incident>;
  /** Records at the centre, by reference. */
  records: Map<string, KeptRecord>;
  /** What the centre keeps of the unit. */
  recordList: RecordRow[];
  outbox: Unsent[];
  /** Reference of the intervention that is shown. */
  incident: string | null;
  /** Key of the camera that is shown large. */
  focused: string | null;
  /** Key of the camera that keys are meant for: touched or added last. */
  current: string | null;
  /** Key of the camera whose tile the keyboard goes to once it is there. */
  goTo: string | null;
  /** Communes whose cameras all stopped without a cause, with when the last picture came (ms). */
  silent: Map<string, number>;
  /** Alerts by intervention that nobody has looked at. */
  alerts: Map<string, number>;
  tiles: Map<string, TileFigures>;
}

type PageStore = import("/page/core/store.js").Store;

/** What every part of the page works with. */
interface Context {
  store: PageStore;
  api: import("/page/core/api.js").Api;
  clock: import("/page/core/clock.js").Clock;
  shortcuts: import("/page/core/shortcuts.js").Shortcuts;
}

/** The same with the desk, for the parts that show it. */
interface DeskContext extends Context {
  desk: import("/page/incident/desk.js").Desk;
}

/** What an intervention's form is filled in with. */
interface GivenIncident {
  ref?: string;
  grounds?: string | null;
  present?: string[];
  at?: Position | null;
  place?: string | null;
  /** An address that nobody has looked up. */
  address?: string | null;
}

/** What a dispatch tool asks for in the address. */
interface Fragment {
  incident: string | null;
  grounds: string | null;
  at: Position | null;
  address: string | null;
  present: string[];
  session: string | null;
  demo: { key: Bytes; chain: Bytes[] } | null;
}

// --- Finding

/** What the list and the map are asked to show. */
interface Where {
  at?: Position | null;
  /** The address of `at`. */
  label?: string | null;
  neighboursOf?: string;
}

interface Polygon {
  polygon: Position[];
}

interface Circle {
  circle: Position;
  /** Metres. */
  radius: number;
}

type Shape = Polygon | Circle;

/** A set of cameras with a name. */
interface CameraSet {
  name: string;
  cameras: string[];
}

// --- Pictures

type Bytes = Uint8Array<ArrayBuffer>;

/** Part of a picture that is shown: its middle (0 to 1) and how much it is enlarged. */
interface View {
  zoom: number;
  x: number;
  y: number;
}

interface Rect {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** What the worker counts of a camera. */
interface StreamFigures {
  camera: string;
  awaited: AwaitedStream | null;
  /** What comes is the camera's other stream, as the first can't be decoded. */
  isOther: boolean;
  /** ms UTC by the gateway's clock. */
  captured: number | null;
  /** ms of `performance.timeOrigin + performance.now()`. */
  shownAt: number | null;
  width: number;
  height: number;
  codec: string | null;
  queue: number;
  /** Whether the newest picture is of the group that the receiver kept. */
  kept?: boolean;
  received: number;
  frames: number;
  drawn: number;
  dropped: number;
  /** Times that the receiver skipped pictures, as this page did not take them. */
  skipped: number;
  /** Pictures in a second as the camera gives them; null: not known yet. */
  rate: number | null;
}

/** A codec that can't be decoded, while the camera's other stream is awaited, and what keeps that. */
interface AwaitedStream {
  codec: string;
  reason: string | null;
}

/** What a browser can't show, and under which grant. */
interface PictureProblem {
  reason: string;
  /** Why the camera's other stream does not come. */
  why?: string | null;
  codec: string | null;
  grant: string | null | undefined;
}

/** Fewer pictures than the camera gives: how many in a second, and what keeps the others. */
interface Stutter {
  fps: number;
  by: "page" | "line";
}

/** What a tile says of its picture (watch/tile_state.js). */
interface TileView {
  state: string;
  reason: string | null;
  detail: string | null;
  silentMs: number | null;
  ageMs: number | null;
  /** Fewer pictures are shown than the camera gives. */
  stutter?: Stutter | null;
  /** Seconds. */
  clockOffset?: number;
}

/** A tile for those who measure: `fanalFigures()`. */
interface TileFigures {
  state: string;
  reason: string | null;
  profile: string | null;
  cause: string | null;
  ageMs: number | null;
  frames: number;
  dropped: number;
  width: number;
  height: number;
  codec: string | null;
  queue: number;
  problem: string | null;
}

/** A decoded picture as PNG. */
interface Still {
  png: ArrayBuffer;
  captured: number;
  width: number;
  height: number;
}

/** What a mosaic asks of the page: another window's mosaic has the same. */
interface MosaicActions {
  /** Closes a tile and ends its camera's part of the grant, or only takes it out of the mosaic. */
  removeTile(key: string, ends: boolean): void;
  /** Puts a tile where another is. */
  move(key: string, to: string): void;
  /** Keeps a tile on all pages of the mosaic, or no longer. */
  pin(key: string): void;
  /** Another page of the mosaic is shown. */
  turned?(): void;
  snapshot(key: string, live: { snapshot(key: string, mark: string | null): Promise<Still> }): Promise<void>;
  bookmark(key: string): void;
  copy(text: string): Promise<void>;
  /** Goes on to another camera: shows it, or asks for it. */
  goOn(key: string): void;
  /** Asks again for a camera that ended. */
  again(key: string): void;
}

/** `GET live`: what the receiver says. */
type LiveMessage =
  | { type: "ready"; codecs?: string[] }
  | { type: "undecodable"; camera: string; tag: number; codec: string; reason: string | null; waits: boolean }
  | { type: "subscribed"; camera: string; tag: number; grant: string }
  | { type: "skipped"; camera: string; tag: number }
  | LiveConfiguration
  | { type: "state"; camera: string; tag: number; state: string; reason?: string | null; detail?: string }
  | { type: "end"; camera: string; tag: number; reason: string; detail?: string }
  | { type: "error"; camera?: string; reason: string; detail?: string };

interface LiveConfiguration {
  type: "configuration";
  camera: string;
  tag: number;
  codec: string;
  /** Standard base64. */
  description: string;
  width: number;
  height: number;
}

/** A picture of `GET live`, taken apart. */
interface Unit {
  tag: number;
  key: boolean;
  lossBefore: boolean;
  kept: boolean;
  /** Microseconds. */
  timestamp: number;
  /** ms UTC by the gateway's clock. */
  captured: number;
  data: Bytes;
}

/** What the page tells its worker. */
type WorkerOrder =
  | { type: "open"; url: string; protocols: string[]; token: string }
  | { type: "token"; token: string }
  | { type: "close" }
  | { type: "probe" }
  | { type: "add"; camera: string; canvas: OffscreenCanvas; writable?: undefined }
  | { type: "add"; camera: string; canvas?: undefined; writable: WritableStream<VideoFrame> }
  | { type: "remove" | "stop"; camera: string }
  | { type: "start"; camera: string; grant: string }
  | { type: "focus"; cameras: string[] }
  | { type: "size"; camera: string; width: number; height: number }
  | { type: "view"; camera: string; view: View }
  | { type: "snapshot"; camera: string; id: number; mark: string | null };

/** A picture on its way to a screen. */
interface Shown {
  picture: VideoFrame | ImageBitmap;
  view: View;
  width: number;
  height: number;
  /** It is on its way. */
  drawn: () => void;
}

/** Chromium's: a track that shows what is written (https://w3c.github.io/mediacapture-transform/). */
declare class MediaStreamTrackGenerator extends MediaStreamTrack {
  constructor(init: { kind: "video" });
  readonly writable: WritableStream<VideoFrame>;
}

interface CameraEnd {
  type: "camera_end" | "camera_error";
  camera?: string;
  grant?: string | null;
  reason: string;
  detail?: string;
}

interface StreamProblem {
  type: "problem";
  camera: string;
  grant: string | null;
  problem: string;
  codec: string | null;
  /** Why the camera's other stream does not come. */
  reason?: string | null;
}

interface FiguresReport {
  type: "figures";
  tiles: StreamFigures[];
  scriptMs: number;
}

/** What the worker tells the page. */
type WorkerReport =
  | { type: "ready" }
  | { type: "closed"; code: number; reason: string }
  | { type: "camera_state"; camera: string }
  | CameraEnd
  | StreamProblem
  | FiguresReport
  | { type: "snapshot"; id: number; problem: string }
  | ({ type: "snapshot"; id: number; problem?: undefined } & Still);

interface Window {
  /** Firefox has none; a policy's URLs are strings for `Worker`'s type. */
  trustedTypes?: {
    createPolicy(
      name: string,
      rules: { createScriptURL(url: string): string },
    ): { createScriptURL(url: string): string };
  };
  /** For those who measure. */
  fanalFigures?: () => object;
  /** What the wall's window takes over from the page that opened it. */
  fanalWall?: () => { ctx: DeskContext; actions: MosaicActions; incident: string | null };
}
