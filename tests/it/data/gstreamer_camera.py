"""A camera of others: GStreamer's RTSP server over a test picture.

Arguments: the encoder's part of the pipeline up to the payloader named pay0, and
`tcp` or `udp`; then, for Digest, user and password. Prints the port it got. Each
line on its standard input is the wish for a key frame.
"""
import sys
import threading

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

Gst.init(None)
pipeline, protocol, *login = sys.argv[1:]
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(pipeline)
lower = {"tcp": GstRtsp.RTSPLowerTrans.TCP, "udp": GstRtsp.RTSPLowerTrans.UDP}
factory.set_protocols(lower[protocol])
if login:
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "operator")
    auth.add_digest(login[0], login[1], token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("operator", "media.factory.access", True)
    permissions.add_permission_for_role("operator", "media.factory.construct", True)
    factory.set_permissions(permissions)
payloaders = []
factory.connect(
    "media-configure",
    lambda _, media: payloaders.append(media.get_element().get_by_name("pay0")),
)


def force_key_frames():
    for _ in sys.stdin:
        wish = Gst.Structure.new_from_string("GstForceKeyUnit, all-headers=(boolean)true")
        for payloader in payloaders:
            event = Gst.Event.new_custom(Gst.EventType.CUSTOM_UPSTREAM, wish.copy())
            payloader.get_static_pad("sink").push_event(event)


threading.Thread(target=force_key_frames, daemon=True).start()
server.get_mount_points().add_factory("/main", factory)
server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
