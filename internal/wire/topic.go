package wire

import (
	"fmt"
	"strings"
)

// Root is the first part of every topic. The version stands in the topic so that two versions of
// the contract can live beside each other on one broker.
const Root = "steelyard/v1"

// The topics of a site. QoS 1 but for live, which is QoS 0. Status, machines and receipts are retained.
func TopicOf(site string, stream Stream) string { return Root + "/" + site + "/" + string(stream) }
func LiveTopic(site string) string              { return Root + "/" + site + "/live" }
func StatusTopic(site string) string            { return Root + "/" + site + "/status" }
func MachinesTopic(site string) string          { return Root + "/" + site + "/machines" }
func ReceiptTopic(site string, s Stream) string { return Root + "/" + site + "/receipt/" + string(s) }
func RequestTopic(site string) string           { return Root + "/" + site + "/request" }

// Filters that the cloud subscribes to.
const (
	AllRecords  = Root + "/+/records"
	AllSamples  = Root + "/+/samples"
	AllLive     = Root + "/+/live"
	AllStatus   = Root + "/+/status"
	AllMachines = Root + "/+/machines"
)

// SplitTopic returns the site and the rest of a topic under Root.
func SplitTopic(topic string) (site, rest string, err error) {
	under, ok := strings.CutPrefix(topic, Root+"/")
	site, rest, ok2 := strings.Cut(under, "/")
	if !ok || !ok2 || CheckSlug("site", site) != nil {
		return "", "", fmt.Errorf("topic %.80q is not %s/{site}/…", topic, Root)
	}
	return site, rest, nil
}
