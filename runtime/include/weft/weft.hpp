// Everything that the core of weft offers, but for fmt.hpp.
#pragma once

#include <weft/blocking.hpp>
#include <weft/buffer.hpp>
#include <weft/error.hpp>
#include <weft/fiber.hpp>
#include <weft/io.hpp>
#include <weft/mutex.hpp>
#include <weft/io/raw_calls.hpp>
#include <weft/net/address.hpp>
#include <weft/net/endpoint.hpp>
#include <weft/net/local.hpp>
#include <weft/net/local_datagram.hpp>
#include <weft/net/local_endpoint.hpp>
#include <weft/net/local_message.hpp>
#include <weft/net/native.hpp>
#include <weft/net/resolver.hpp>
#include <weft/net/serve.hpp>
#include <weft/net/tcp.hpp>
#include <weft/net/udp.hpp>
#include <weft/os/file.hpp>
#include <weft/os/native_fd.hpp>
#include <weft/os/pipe.hpp>
#include <weft/os/process.hpp>
#include <weft/os/signal.hpp>
#include <weft/runtime.hpp>
#include <weft/wait_group.hpp>
