/** @typedef {typeof KIT} Kit */
/** Makes links. */
export class Loader {
    /** @param {Wire} wire @param {Settings} options */
    constructor(wire: Wire, options: Settings);
    /** @param {Transport} transport @returns {Promise<Link>} rejects as `http` does */
    make(transport: Transport): Promise<Link>;
    /**
     * What speaks HTTP. Rejects with a ChatError if it cannot be loaded now, which another try may
     * mend.
     *
     * @returns {Promise<Http>}
     */
    http(): Promise<Http>;
    #private;
}
export type Settings = import("../types.js").Settings;
export type Transport = import("../types.js").Transport;
export type Wire = import("../wire.js").Wire;
export type Link = SocketLink | import("./http.js").HttpLink;
export type Http = ReturnType<typeof import("./http.js").overHttp>;
export type Kit = typeof KIT;
import { SocketLink } from './socket.js';
declare namespace KIT {
    export { asChatError };
    export { ChatError };
    export { deadline };
    export { hex };
    export { parse };
    export { since };
    export { sleep };
}
import { asChatError } from '../errors.js';
import { ChatError } from '../errors.js';
import { deadline } from '../timing.js';
import { hex } from '../wire.js';
import { parse } from '../wire.js';
import { since } from '../timing.js';
import { sleep } from '../timing.js';
export {};
